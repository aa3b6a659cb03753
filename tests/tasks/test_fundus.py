"""A retina's field of view is found, its scale is known, and evening undoes the light and the camera."""

import pytest
import torch
from torch import Tensor

from cflowtool.tasks.fundus import evened, field_of_view, training_scale


def disc(side: int, diameter: float) -> Tensor:
    axis = torch.arange(side) - (side - 1) / 2
    return (axis[:, None].square() + axis.square()).sqrt() <= diameter / 2


def vessels(side: int) -> Tensor:
    """A pattern (side, side) in [0, 1] as fine as vessels are."""
    coarse = torch.rand(1, 1, side // 4, side // 4, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")[0, 0].clamp(0, 1)


def twice(planes: Tensor) -> Tensor:
    return planes.repeat_interleave(2, 1).repeat_interleave(2, 2)


def photograph(pattern: Tensor, inside: Tensor, gain: Tensor | float = 1.0, outside: float = 0.0) -> Tensor:
    """uint8 (3, H, W): a pattern on a bright background, under some light."""
    values = torch.where(inside, (100 + 60 * pattern) * gain, outside)
    return values.round().clamp(0, 255).to(torch.uint8).expand(3, -1, -1)


def test_a_field_of_view_cut_off_above_and_below_keeps_its_diameter() -> None:
    assert training_scale(disc(2200, 2160)[300:-300]) == pytest.approx(0.5, rel=0.01)
    assert training_scale(torch.zeros(5, 5, dtype=torch.bool)) == 1


@pytest.mark.parametrize("diameter", [200, 490, 495, 540, 800, 1080, 1180, 1190, 1500])
def test_what_is_of_the_scales_trained_on_is_left_and_the_rest_comes_to_the_nearest(diameter: int) -> None:
    factor, across = training_scale(disc(1520, diameter)), min(max(diameter, 540), 1080)
    assert factor == 1 if 540 / 1.1 < diameter < 1080 * 1.1 else factor == pytest.approx(across / diameter, rel=0.005)


def test_the_field_of_view_is_found_with_its_dark_vessels_and_without_specks() -> None:
    inside = disc(200, 170)
    photo = photograph(vessels(200), inside).clone()
    photo[:, 90:110, 60:70] = 0
    photo[:, 3:9, 3:9] = 200
    found = field_of_view(((photo + 0.5) / 256)[None])
    assert (found.bool() == inside).double().mean() > 0.995
    assert field_of_view(torch.zeros(1, 3, 20, 20)).sum() == 0
    assert field_of_view(torch.full((1, 3, 1, 1), 0.9)).tolist() == [[1]]


@pytest.mark.parametrize("gain", [0.4, 0.7, 1.5])
def test_evening_undoes_gain(gain: float) -> None:
    inside, pattern = disc(200, 180), vessels(200)
    one, other = (evened(photograph(pattern, inside, g), inside).int() for g in (1.0, gain))
    assert (one - other)[:, inside].abs().double().mean() < 2


def test_a_photograph_of_twice_the_size_is_evened_to_twice_the_size() -> None:
    inside, pattern = disc(594, 594), vessels(594)
    shade = torch.linspace(0.5, 1.4, 594)[:, None].expand(594, 594)
    photo = photograph(pattern, inside, shade)
    small, large = evened(photo, inside), evened(twice(photo), twice(inside[None])[0])
    assert (twice(small).int() - large.int())[:, twice(inside[None])[0]].abs().double().mean() < 1


def test_evening_undoes_smooth_shading() -> None:
    inside, pattern = disc(200, 180), vessels(200)
    shade = torch.linspace(0.5, 1.4, 200)[:, None].expand(200, 200)
    plain, shaded = (photograph(pattern, inside, g) for g in (1.0, shade))
    before, after = ((a.double() - b.double())[:, inside].abs().mean() for a, b in (
        (plain, shaded), (evened(plain, inside), evened(shaded, inside))))  # fmt: skip
    assert after < before / 5


def test_the_rim_leaves_no_trace() -> None:
    inside, pattern = disc(200, 180), vessels(200)
    flat = evened(photograph(torch.zeros(200, 200), inside), inside)
    assert (flat == 128).all()
    seen, whole = evened(photograph(pattern, inside), inside), torch.ones(200, 200, dtype=torch.bool)
    uncut = evened(photograph(pattern, whole), whole)
    near = inside & ~disc(200, 164)
    assert (seen.double() - uncut.double())[:, near].mean().abs() < 4
    assert seen[:, near].double().std().item() == pytest.approx(uncut[:, near].double().std().item(), rel=0.1)


def test_outside_is_neutral_whatever_lies_there() -> None:
    inside, pattern = disc(100, 80), vessels(100)
    dark, bright = (evened(photograph(pattern, inside, outside=value), inside) for value in (0.0, 255.0))
    assert (dark[:, ~inside] == 128).all() and torch.equal(dark, bright)
    assert dark[:, inside].double().std() > 20


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (3, 3)])
def test_small_and_empty_photographs_survive(size: tuple[int, int]) -> None:
    for inside in (torch.zeros(size, dtype=torch.bool), torch.ones(size, dtype=torch.bool)):
        assert (evened(torch.full((3, *size), 77, dtype=torch.uint8), inside) == 128).all()
