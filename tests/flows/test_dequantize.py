"""Dequantization spreads every value evenly over its own cell."""

import pytest
import torch
from torch import Tensor

from cflowtool.flows.dequantize import uniform_dequantize


def midpoints(levels: int) -> Tensor:
    return ((torch.arange(levels, dtype=torch.float64) + 0.5) / levels).repeat(2000, 1)


@pytest.mark.parametrize("levels", [2, 256])
def test_every_value_stays_in_its_cell(levels: int) -> None:
    y = uniform_dequantize(midpoints(levels), levels, torch.Generator().manual_seed(0))
    assert torch.equal((y * levels).floor(), torch.arange(levels).expand_as(y).double())


def test_the_noise_is_uniform() -> None:
    y = midpoints(16)
    noise = (uniform_dequantize(y, 16, torch.Generator().manual_seed(0)) - y) * 16
    for order, moment in ((1, 0), (2, 1 / 12), (3, 0), (4, 1 / 80)):
        assert (noise**order).mean().item() == pytest.approx(moment, abs=0.01)


def test_the_noise_is_the_generators() -> None:
    y = midpoints(4).float()
    first, same, other = (uniform_dequantize(y, 4, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, same) and not torch.equal(first, other) and first.dtype == torch.float32


def test_without_a_generator_it_is_torchs_own() -> None:
    y = midpoints(4)
    torch.manual_seed(5)
    first = uniform_dequantize(y, 4)
    assert not torch.equal(first, uniform_dequantize(y, 4))
    torch.manual_seed(5)
    assert torch.equal(first, uniform_dequantize(y, 4))
