"""Colourfulness is zero for grey, known for one colour, and scales with the saturation."""

import pytest
import torch

from cflowtool.metrics.colour import colourfulness

OFFSETS = torch.randint(-30, 30, (3, 12, 10), generator=torch.Generator().manual_seed(0))


def image(saturation: int) -> torch.Tensor:
    return (128 + saturation * OFFSETS).to(torch.uint8)


def test_grey_has_none_whatever_its_contrast() -> None:
    grey = torch.randint(0, 256, (1, 9, 9), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert colourfulness(grey.expand(3, -1, -1)).item() == 0


def test_one_colour_and_two_have_their_closed_forms() -> None:
    red = torch.zeros(3, 4, 4, dtype=torch.uint8)
    red[0] = 200
    assert colourfulness(red).item() == pytest.approx(0.3 * (200**2 + 100**2) ** 0.5)
    red[0, :2], red[1, :2] = 0, 200
    assert colourfulness(red).item() == pytest.approx(200 + 0.3 * 100)


def test_it_is_proportional_to_the_saturation_and_blind_to_brightness_and_place() -> None:
    found = colourfulness(torch.stack([image(1), image(2), image(3), image(1) - 50]))
    assert found.tolist() == pytest.approx([found[0].item() * k for k in (1, 2, 3, 1)])
    assert colourfulness(image(1).flip(-1).mT).item() == pytest.approx(found[0].item())


def test_anything_but_uint8_of_three_channels_is_refused() -> None:
    for wrong in (image(1).float(), image(1)[:2], image(1)[0]):
        with pytest.raises(ValueError, match="wants uint8"):
            colourfulness(wrong)
