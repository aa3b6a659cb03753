"""PSNR against its closed forms."""

import math

import pytest
import torch

from cflowtool.metrics import luma, psnr_rgb, psnr_y

IMAGE = torch.randint(20, 200, (3, 17, 13), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_luma_of_grey_runs_from_16_to_235() -> None:
    ramp = torch.arange(256, dtype=torch.uint8).expand(3, 1, 256)
    assert torch.allclose(luma(ramp)[0], 16 + 219 * torch.arange(256, dtype=torch.float64) / 255, atol=1e-12)


@pytest.mark.parametrize("error", [1, 5, 55])
def test_a_constant_error_has_a_closed_form(error: int) -> None:
    worse = IMAGE + error
    assert psnr_rgb(worse, IMAGE) == pytest.approx(20 * math.log10(255 / error))
    assert psnr_y(worse, IMAGE) == pytest.approx(20 * math.log10(255 / (error * 219 / 255)))


def test_equal_images_are_infinitely_good() -> None:
    assert psnr_y(IMAGE, IMAGE, 2) == psnr_rgb(IMAGE, IMAGE) == math.inf


def test_the_border_does_not_count() -> None:
    worse = torch.zeros_like(IMAGE)
    worse[:, 3:-3, 3:-3] = IMAGE[:, 3:-3, 3:-3]
    assert psnr_y(worse, IMAGE, 3) == math.inf
    assert psnr_y(worse, IMAGE, 2) < 30


def test_a_batch_pools_its_error() -> None:
    batch = torch.stack([IMAGE, IMAGE])
    assert psnr_y(batch, torch.stack([IMAGE, IMAGE + 9])) == pytest.approx(
        psnr_y(IMAGE, IMAGE + 9) + 10 * math.log10(2)
    )


@pytest.mark.parametrize(("other", "border"), [(IMAGE[:, 1:], 0), (IMAGE.float(), 0), (IMAGE, 7), (IMAGE, -1)])
def test_what_cannot_be_compared_is_refused(other: torch.Tensor, border: int) -> None:
    for measure in (psnr_y, psnr_rgb):
        with pytest.raises(ValueError, match=r"shapes|uint8|border"):
            measure(other, IMAGE, border)
