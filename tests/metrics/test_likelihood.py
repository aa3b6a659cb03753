"""Bits per dimension of densities that are known."""

import math

import pytest
import torch

from cflowtool.metrics import bits_per_dim


@pytest.mark.parametrize("levels", [2, 256, 65536])
def test_the_uniform_density_costs_every_bit(levels: int) -> None:
    assert torch.equal(bits_per_dim(torch.zeros(3), 768, levels), torch.full((3,), math.log2(levels)))


def test_all_mass_in_one_level_costs_nothing() -> None:
    dims = 12
    assert bits_per_dim(torch.tensor([dims * math.log(256)]), dims).item() == pytest.approx(0, abs=1e-5)


def test_halving_the_density_of_a_value_costs_a_bit() -> None:
    bits = bits_per_dim(torch.tensor([0.0, -7 * math.log(2)]), 7)
    assert (bits[1] - bits[0]).item() == pytest.approx(1, abs=1e-5)


def test_no_dimensions_are_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        bits_per_dim(torch.zeros(1), 0)
