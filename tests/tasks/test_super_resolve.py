"""Super-resolution's x is the truth shrunk and rounded to 8 bit, and its results are measured against x."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cflowtool.images import bicubic_resize, quantise
from cflowtool.tasks.super_resolve import SuperResolve, as_bytes

SCALES = [2, 3, 4]


def image(height: int, width: int, batch: int = 1) -> Tensor:
    coarse = torch.rand(batch, 3, -(-height // 8), -(-width // 8), generator=torch.Generator().manual_seed(0))
    return quantise(F.interpolate(coarse, scale_factor=8, mode="bilinear")[..., :height, :width])


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("size", [(24, 36), (25, 38), (35, 24)])
def test_sizes_are_cut_to_a_multiple_and_x_is_its_share(scale: int, size: tuple[int, int]) -> None:
    truth = image(*size)
    x, y = SuperResolve(scale).pair(truth)
    height, width = (side // scale for side in size)
    assert x.shape == (1, 3, height, width) and y.shape == (1, 3, scale * height, scale * width)
    assert torch.equal(SuperResolve(scale).assemble(x, y), truth[..., : scale * height, : scale * width])


@pytest.mark.parametrize("scale", SCALES)
def test_x_is_the_8_bit_midpoint_nearest_to_the_shrunk_truth(scale: int) -> None:
    truth = image(24, 36)
    x, _ = SuperResolve(scale).pair(truth)
    levels = x * 256 - 0.5
    assert torch.equal(levels, levels.round().clamp(0, 255))
    assert (x - bicubic_resize(truth, (24 // scale, 36 // scale))).abs().max() <= 0.5 / 256 + 1e-6


@pytest.mark.parametrize("scale", SCALES)
def test_the_truth_degrades_to_x_and_noise_does_not(scale: int) -> None:
    task, truth = SuperResolve(scale), image(24, 36, 2)
    x, y = task.pair(truth)
    right, wrong = task.degraded_error(x, y), task.degraded_error(x, torch.rand_like(y))
    assert right.shape == wrong.shape == x.shape
    assert right.abs().max() <= 0.5 / 256 + 1e-6 and wrong.square().mean() > 0.01


def test_one_x_is_compared_with_many_results() -> None:
    task, truth = SuperResolve(2), image(24, 36)
    x, y = task.pair(truth)
    error = task.degraded_error(x, torch.cat((y, y + 0.1, y)))
    assert torch.equal(error[0], error[2]) and torch.allclose(error[1] - error[0], torch.tensor(0.1), atol=1e-5)


@pytest.mark.parametrize("scale", SCALES)
def test_the_baseline_is_bicubic_upsampling(scale: int) -> None:
    x = image(8, 12)
    assert torch.equal(SuperResolve(scale).baseline(x), bicubic_resize(x, (8 * scale, 12 * scale)))
    assert torch.equal(SuperResolve(scale).condition(x), x)


def test_a_border_of_the_scale_does_not_count() -> None:
    truth = image(32, 32)
    framed = truth.clone()
    framed[..., :4, :], framed[..., -4:] = 0, 1
    assert SuperResolve(4).metrics(framed, truth)["psnr"] == 100
    assert SuperResolve(2).metrics(framed, truth)["psnr"] < 30


def test_bytes_are_the_levels_whose_cells_the_values_fall_into() -> None:
    values = torch.tensor([-1.0, 0.0, 0.5 / 256, 1 / 256, 0.999999, 1.0, 2.0]).expand(1, 3, 1, 7)
    assert as_bytes(values)[0, 0].tolist() == [0, 0, 0, 1, 255, 255, 255]
