"""Images become bytes and come back."""

import numpy as np
import pytest
import torch

from cflowtool.tasks.eight_bit import as_bytes, as_pixels, each, fidelity, psnr


def image(batch: int = 1) -> torch.Tensor:
    return (torch.randint(0, 256, (batch, 3, 16, 20), generator=torch.Generator().manual_seed(0)) + 0.5) / 256


def test_bytes_and_pixels_are_the_levels() -> None:
    y = image()
    assert torch.equal((as_bytes(y) + 0.5) / 256, y[0])
    assert np.array_equal(as_pixels(y).transpose(2, 0, 1), as_bytes(y).numpy())


def test_each_image_goes_through_the_function_with_its_index() -> None:
    y = image(3)
    assert torch.equal(each(y, lambda index, pixels: pixels), y)
    shifted = each(y, lambda index, pixels: np.roll(pixels, index, axis=1))
    assert all(torch.equal(shifted[i], y[i].roll(i, -1)) for i in range(3))


def test_psnr_counts_the_pixels_within_alone() -> None:
    y, within = image(), torch.zeros(16, 20, dtype=torch.bool)
    within[4:8, 4:8] = True
    other = torch.where(within, y, 1 - y)
    assert psnr(other, y, within) == 100 > 20 > psnr(other, y)
    assert fidelity(y, y) == {"psnr": 100, "ssim": pytest.approx(1)} and fidelity(other, y)["psnr"] == psnr(other, y)
