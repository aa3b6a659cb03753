"""Fundus photographs come to one scale, and only what is inside the field of view counts."""

import math

import pytest
import torch
from torch import Tensor

from cflowtool.tasks.segment_vessels import SegmentVessels, field_of_view, training_scale


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


@pytest.mark.parametrize(("side", "diameter"), [(1200, 1080), (300, 270), (584, 540), (600, 550)])
def test_photographs_come_to_one_scale_and_masks_stay_binary(side: int, diameter: int) -> None:
    task, photo = SegmentVessels(), fundus(side, diameter, 8)
    small = task.prepare(photo)
    assert small.dtype == torch.uint8 and set(small[3:].unique().tolist()) == {0, 255}
    assert int((small[4] > 0).any(0).sum()) == pytest.approx(540, abs=12)
    expected = 8 * (540 / diameter if abs(diameter - 540) > 54 else 1)
    assert int((small[3, small.shape[1] // 2] > 0).sum()) == pytest.approx(expected, abs=2)
    if abs(diameter - 540) <= 54:
        assert torch.equal(small, photo)


def test_a_field_of_view_cut_off_above_and_below_keeps_its_diameter() -> None:
    assert training_scale(disc(1200, 1080)[200:-200]) == pytest.approx(0.5, rel=0.01)
    assert training_scale(torch.zeros(5, 5, dtype=torch.bool)) == 1


def test_the_field_of_view_is_found_with_its_dark_vessels_and_without_specks() -> None:
    photo = fundus(200, 170)
    photo[:3, 90:110, 60:70] = 0
    photo[:3, 3:9, 3:9] = 200
    found = field_of_view(as_truth(photo)[:, :3])
    assert (found.bool() == disc(200, 170)).double().mean() > 0.995
    assert field_of_view(torch.zeros(1, 3, 20, 20)).sum() == 0


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
