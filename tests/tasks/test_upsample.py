"""Upsampled planes follow the guide's edges, and nothing is changed that needs no upsampling."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cflowtool.tasks.upsample import JointUpsampling, local_slope, windowed_mean


def random(*shape: int, seed: int = 0) -> Tensor:
    return 255 * torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def upsampled(guide: Tensor, planes: Tensor, full: Tensor, **options: float) -> Tensor:
    return JointUpsampling(guide, planes, full.shape[-1], **options).rows(0, full.shape[-2], full)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 12)])
def test_planes_of_the_guides_own_size_stay_as_they_are(size: tuple[int, int]) -> None:
    guide, planes = random(1, 1, *size), random(3, 2, *size, seed=1)
    assert (upsampled(guide, planes, guide) - planes).abs().max() < 1e-9


@pytest.mark.parametrize("factor", [2, 5])
def test_planes_that_are_linear_in_the_guide_are_so_at_its_size(factor: int) -> None:
    full = random(1, 1, 8 * factor, 6 * factor)
    guide = F.avg_pool2d(full, factor)
    planes = torch.cat((0.5 * guide + 30, 200 - guide), 1)
    wanted = torch.cat((0.5 * full + 30, 200 - full), 1)
    assert (upsampled(guide, planes, full, regularization=1e-9) - wanted).abs().max() < 1e-3


def test_one_colour_stays_one_colour_whatever_the_guide_is() -> None:
    full = random(1, 1, 23, 17)
    assert (upsampled(random(1, 1, 5, 4), torch.full((1, 2, 5, 4), 77.0).double(), full) - 77).abs().max() < 1e-9


def test_the_slope_is_that_of_the_line() -> None:
    guide = random(1, 1, 9, 9)
    found = local_slope(guide, torch.cat((3 * guide - 4, 0 * guide + 9), 1), 2, 1e-9)
    assert torch.allclose(found[:, :1], torch.tensor(3.0).double(), rtol=1e-6) and found[:, 1:].abs().max() < 1e-9
    flat = local_slope(torch.full_like(guide, 5), guide, 1, 1.0)
    assert flat.abs().max() < 1e-9


def test_a_windows_mean_is_over_what_there_is_of_it() -> None:
    planes = random(1, 1, 3, 4)
    mean = windowed_mean(planes, 1)
    assert mean[0, 0, 0, 0].item() == pytest.approx(planes[0, 0, :2, :2].mean().item())
    assert mean[0, 0, 1, 1].item() == pytest.approx(planes[0, 0, :3, :3].mean().item())


@pytest.mark.parametrize("band", [1, 7, 64])
def test_bands_of_rows_are_the_rows_of_the_whole(band: int) -> None:
    full, guide, planes = random(1, 1, 37, 20), random(1, 1, 9, 5), random(2, 2, 9, 5, seed=1)
    upsampling = JointUpsampling(guide, planes, 20)
    parts = [upsampling.rows(top, 37, full[..., top : top + band, :]) for top in range(0, 37, band)]
    assert torch.equal(torch.cat(parts, 2), upsampled(guide, planes, full))


def test_a_guide_without_edges_leaves_the_bilinear_interpolation() -> None:
    planes, full = random(2, 2, 6, 7), torch.full((1, 1, 25, 31), 90.0).double()
    wanted = F.interpolate(planes, size=(25, 31), mode="bilinear")
    assert (upsampled(torch.full((1, 1, 6, 7), 90.0).double(), planes, full) - wanted).abs().max() < 1e-9


@pytest.mark.parametrize("offset", [0, 1, 3])
@pytest.mark.parametrize("slanted", [False, True])
def test_colours_do_not_bleed_over_the_edges_of_the_guide(offset: int, slanted: bool) -> None:
    factor, side = 4, 64
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    right = (columns + (rows // 3 if slanted else 0) >= side // 2 + offset)[None, None].double()
    full, planes = 60 + 120 * right, torch.cat((100 + 60 * right, 160 - 50 * right), 1)
    small = [F.avg_pool2d(values, factor) for values in (full, planes)]
    error = (upsampled(*small, full) - planes).abs()
    plain = (F.interpolate(small[1], scale_factor=float(factor), mode="bilinear") - planes).abs()
    assert error.mean() < plain.mean() / 10 and error.max() < plain.max() / 3
