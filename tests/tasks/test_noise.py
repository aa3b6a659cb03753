"""The noise of an image is measured, not its texture, its clipping or its size."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cflowtool.images import quantise
from cflowtool.tasks.noise import estimate_sigma, is_grey


def smooth(side: int = 96) -> Tensor:
    coarse = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.3
    return quantise(F.interpolate(coarse, size=(side, side), mode="bicubic"))


def noise(image: Tensor, seed: int = 2) -> Tensor:
    return torch.randn(image.shape, generator=torch.Generator().manual_seed(seed)) / 256


@pytest.mark.parametrize("sigma", [0.0, 5.0, 15.0, 40.0])
@pytest.mark.parametrize("grey", [False, True])
def test_the_estimate_is_near_the_truth_of_a_smooth_image(sigma: float, grey: bool) -> None:
    truth = smooth(300)[:, : 1 if grey else 3]
    x = quantise(truth + sigma * noise(truth)).expand(-1, 3, -1, -1)
    assert estimate_sigma(x) == pytest.approx(sigma, rel=0.05, abs=1)


@pytest.mark.parametrize("sigma", [3.0, 10.0])
def test_texture_without_colour_does_not_count(sigma: float) -> None:
    image = smooth()
    textured = quantise(image + 0.1 * torch.rand(1, 1, 96, 96, generator=torch.Generator().manual_seed(0)) - 0.05)
    assert estimate_sigma(quantise(textured + sigma * noise(image))) == pytest.approx(sigma, rel=0.05, abs=0.3)


def test_noise_whose_colour_was_lost_is_measured_by_what_it_leaves_in_the_grey() -> None:
    image = smooth(300)
    common = (20 * noise(image)).mean(1, keepdim=True)
    assert estimate_sigma(image + common) == pytest.approx(20, rel=0.1)


def test_the_smoothest_blocks_of_a_grey_image_count() -> None:
    image = smooth(300)[:, :1].expand(-1, 3, -1, -1).clone()
    image[..., 100:] += 0.3 * torch.rand(1, 1, 300, 200, generator=torch.Generator().manual_seed(0)) - 0.15
    assert estimate_sigma(image + 5 * noise(image[:, :1])) == pytest.approx(5, rel=0.2)


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("extreme", [0.5 / 256, 255.5 / 256])
def test_clipped_regions_do_not_count(grey: bool, extreme: float) -> None:
    image = smooth(192)
    x = quantise(image + 20 * noise(image))
    x = x[:, :1].expand(-1, 3, -1, -1).clone() if grey else x
    whole = estimate_sigma(x)
    x[:, :, :128] = extreme
    assert estimate_sigma(x) == pytest.approx(whole, rel=0.1)


@pytest.mark.parametrize("size", [(1, 1), (2, 8), (3, 3), (3, 500), (5, 7), (40, 40)])
@pytest.mark.parametrize("value", [0.5 / 256, 0.5, 255.5 / 256])
def test_an_even_image_of_any_size_has_no_noise(size: tuple[int, int], value: float) -> None:
    assert estimate_sigma(torch.full((1, 3, *size), value)) == 0
    grain = quantise(torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)))
    assert 0 <= estimate_sigma(grain) < 300


def test_grey_is_what_has_equal_channels() -> None:
    images = smooth().expand(2, -1, -1, -1).clone()
    images[0] = images[0, :1]
    assert is_grey(images).tolist() == [True, False]
