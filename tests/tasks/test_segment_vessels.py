"""Fundus photographs come to one scale, and only what is inside the field of view counts."""

import math

import pytest
import torch
from torch import Tensor

from cflowtool.errors import InputError
from cflowtool.tasks.segment_vessels import SegmentVessels


def disc(side: int, diameter: float) -> Tensor:
    axis = torch.arange(side) - (side - 1) / 2
    return (axis[:, None].square() + axis.square()).sqrt() <= diameter / 2


def fundus(side: int, diameter: float, vessel: int = 3) -> Tensor:
    """uint8 (5, side, side): an orange disc on black with one dark vertical vessel, its mask, and the disc's."""
    inside = disc(side, diameter)
    across = (torch.arange(side) - side // 2).abs() <= vessel // 2
    vessels = inside & across
    photo = torch.stack([torch.where(vessels, 0.6, 1.0) * inside * level for level in (200, 110, 60)])
    return torch.cat((photo, 255.0 * torch.stack((vessels, inside)))).to(torch.uint8)


def as_truth(photo: Tensor) -> Tensor:
    return torch.cat(((photo[:3] + 0.5) / 256, photo[3:] / 255))[None]


@pytest.mark.parametrize(
    ("side", "diameter", "across"), [(2200, 2160, 1080), (300, 270, 540), (584, 540, 540), (900, 880, 880)]
)
def test_photographs_come_to_scales_trained_on_and_masks_stay_binary(side: int, diameter: int, across: int) -> None:
    task, photo = SegmentVessels(), fundus(side, diameter, 8)
    ready = task.prepare(photo)
    assert ready.dtype == torch.uint8 and set(ready[3:].unique().tolist()) == {0, 255}
    assert int((ready[4] > 0).any(0).sum()) == pytest.approx(across, abs=12)
    assert int((ready[3, ready.shape[1] // 2] > 0).sum()) == pytest.approx(8 * across / diameter, abs=2)
    if across == diameter:
        assert torch.equal(ready, photo)


def test_only_what_is_inside_the_field_of_view_counts() -> None:
    task, truth = SegmentVessels(), as_truth(fundus(120, 100))
    x, y = task.pair(truth)
    mask, within = task.assemble(x, y), task.within(x, truth)
    wrong_outside = torch.where(within, mask, 1.0)
    assert task.metrics(wrong_outside, mask, within) == {"iou": 1, "max_f": 1}
    assert task.metrics(wrong_outside, mask)["max_f"] < 0.5
    assert task.metrics(0.3 * mask, mask, within) == {"iou": 0, "max_f": 1}
    assert task.metrics(mask, 0 * mask, within).keys() == {"iou"}
    assert task.metrics(mask, mask, torch.zeros_like(within)) == {}


@pytest.mark.parametrize("even", [False, True])
@pytest.mark.parametrize(("side", "diameter"), [(300, 270), (560, 540), (1500, 1400)])
def test_a_user_gets_the_x_of_training_and_the_truth_back(side: int, diameter: int, even: bool) -> None:
    task, photo = SegmentVessels(even=even), fundus(side, diameter, 8)
    image, fov, right = task.given(as_truth(photo))
    x, y = task.pair(as_truth(task.prepare(photo)))
    again = task.condition(image, fov)
    assert torch.equal(again, x) and torch.equal(task.target(image, x, right), y)
    result = task.finish(image, x, torch.cat((y, 1 - y)))
    assert result.shape == (2, 1, side, side) and set(result.unique().tolist()) == {0, 1}
    wrong = ((result[:1] != right) & (fov > 0)).sum() / right.sum()
    assert wrong < 0.15 and (result[1:] != 1 - right)[fov > 0].sum() < 0.2 * right.sum()


def test_nothing_is_found_outside_the_field_of_view() -> None:
    task, photo = SegmentVessels(even=True), as_truth(fundus(300, 270))
    image, fov, _ = task.given(photo)
    for mask in (None, fov):
        x = task.condition(image, mask)
        everything = task.finish(image, x, torch.ones(1, 1, *x.shape[-2:]))
        assert (everything != fov).double().mean() < 0.01
    everywhere = task.condition(image, torch.ones_like(fov))
    assert task.finish(image, everywhere, torch.ones(1, 1, *everywhere.shape[-2:])).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (40, 2), (60, 80)])
@pytest.mark.parametrize("value", [0.5 / 256, 0.3, 255.5 / 256])
def test_even_photographs_of_any_size_survive(size: tuple[int, int], value: float) -> None:
    for task in (SegmentVessels(), SegmentVessels(even=True)):
        task.baseline_name, image = "black-hat", torch.full((1, 3, *size), value)
        x = task.condition(image)
        assert x.shape[1] == task.x_channels and max(x.shape[-2:]) <= 1080
        y = torch.ones(3, 1, *x.shape[-2:])
        assert task.finish(image, x, y).shape == (3, 1, *size)
        assert task.target(image, x, image[:, :1]).shape == y[:1].shape
        base = task.baselines(image, x)[task.baseline_name]
        assert base.shape == (1, 1, *size) and base.isfinite().all()


def test_a_small_field_of_view_is_not_enlarged_without_end() -> None:
    image, fov = torch.rand(1, 3, 400, 500), torch.zeros(1, 1, 400, 500)
    fov[..., 200:203, 100:103] = 1
    assert SegmentVessels().condition(image, fov).shape[-1] == 1080


def test_a_field_of_view_that_does_not_fit_is_refused() -> None:
    image = torch.rand(1, 3, 40, 50)
    for fov, what in ((torch.ones(1, 1, 50, 40), "40 x 50 pixels, not 50 x 40"), (torch.zeros(1, 1, 40, 50), "empty")):
        with pytest.raises(InputError, match=what):
            SegmentVessels().condition(image, fov)


def test_the_baseline_of_a_user_sees_the_photograph_as_it_was() -> None:
    image, fov, right = SegmentVessels().given(as_truth(fundus(300, 270, 2)))
    for task in (SegmentVessels(), SegmentVessels(even=True)):
        x = task.condition(image, fov)
        base = task.baselines(image, x)[task.baseline_name]
        assert base.shape == right.shape and task.metrics(base, right, fov[0, 0] > 0)["max_f"] > 0.7


@pytest.mark.parametrize("installed", [True, False])
def test_the_baseline_marks_vessels_and_not_the_rim(installed: bool) -> None:
    if installed:
        pytest.importorskip("skimage")
    task, truth = SegmentVessels(), as_truth(fundus(160, 140))
    task.baseline_name = "frangi" if installed else "black-hat"
    x, y = task.pair(truth)
    base = task.baseline(x)
    assert base.shape == y.shape and base.min() >= 0 and base.max() == 1
    assert task.metrics(base, task.assemble(x, y), task.within(x, truth))["max_f"] > 0.8


def matrices(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    found = [SegmentVessels(augment=True).distortion(generator) for _ in range(count)]
    return torch.stack([matrix for matrix in found if matrix is not None])


def test_distortions_are_any_rotation_scales_from_0_8_to_1_2_and_shears_of_10_degrees() -> None:
    found = matrices(800)
    scale = 1 / found.det().sqrt()
    assert 0.8 <= scale.min() < 0.81 and 1.19 < scale.max() <= 1.2
    angle = torch.atan2(found[:, 1, 0], found[:, 0, 0])
    quarters = torch.histc(angle, 4, -math.pi, math.pi) / 800
    assert quarters.min() > 0.19
    rotation = torch.stack([torch.stack((a.cos(), -a.sin(), a.sin(), a.cos())).view(2, 2) for a in angle])
    sheared = rotation.transpose(1, 2) @ found * scale[:, None, None]
    assert torch.allclose(sheared[:, (0, 1), (0, 1)], torch.ones(1, dtype=torch.float64))
    assert torch.rad2deg(sheared[:, 0, 1].atan()).std().item() == pytest.approx(10, rel=0.1)


def test_a_distortion_is_its_generators_and_only_where_it_is_asked_for() -> None:
    assert torch.equal(matrices(3), matrices(5)[:3]) and matrices(5).unique(dim=0).shape[0] == 5
    assert SegmentVessels().distortion(torch.Generator()) is None
