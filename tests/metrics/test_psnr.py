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


def test_psnr_in_a_mask_and_outside_of_it_make_up_the_whole() -> None:
    other = (IMAGE.int() + torch.randint(-9, 9, IMAGE.shape, generator=torch.Generator().manual_seed(1))).byte()
    mask = torch.rand(IMAGE.shape[1:], generator=torch.Generator().manual_seed(2)) < 0.3
    whole, hole, rest = (255**2 / 10 ** (psnr_rgb(other, IMAGE, 1, m) / 10) for m in (None, mask, ~mask))
    share = mask[1:-1, 1:-1].double().mean().item()
    assert share * hole + (1 - share) * rest == pytest.approx(whole)
    assert psnr_rgb(other, IMAGE, mask=torch.ones_like(mask)) == psnr_rgb(other, IMAGE)
    patched = torch.where(mask, other, IMAGE)
    assert psnr_rgb(patched[None], IMAGE[None], mask=mask) == pytest.approx(psnr_rgb(other, IMAGE, mask=mask))
    assert psnr_rgb(patched, IMAGE, mask=~mask) == math.inf


def test_a_mask_that_does_not_fit_or_is_empty_is_refused() -> None:
    mask = torch.zeros(IMAGE.shape[1:], dtype=torch.bool)
    for wrong, message in [(mask.byte(), "boolean"), (mask[1:], "boolean"), (mask, "no pixel")]:
        with pytest.raises(ValueError, match=message):
            psnr_rgb(IMAGE, IMAGE, mask=wrong)
