"""Squeezing permutes the values and changes nothing else."""

import pytest
import torch

from cflowtool.flows.squeeze import Squeeze

NO_CONTEXT = torch.zeros(1, 0, 1, 1)


def test_it_is_a_permutation_of_log_det_zero() -> None:
    y = torch.randperm(2 * 3 * 4 * 6).view(2, 3, 4, 6).float()
    z, log_det = Squeeze()(y, NO_CONTEXT)
    assert z.shape == (2, 12, 2, 3) and log_det.tolist() == [0, 0]
    assert torch.equal(z.flatten(1).sort().values, y.flatten(1).sort().values)
    assert torch.equal(Squeeze().inverse(z, NO_CONTEXT)[0], y)


def test_each_position_holds_its_own_block() -> None:
    y = torch.arange(16.0).view(1, 1, 4, 4)
    assert Squeeze()(y, NO_CONTEXT)[0][0, :, 1, 0].sort().values.tolist() == [8, 9, 12, 13]


@pytest.mark.parametrize("size", [(3, 4), (4, 3)])
def test_odd_sizes_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(RuntimeError, match="divisible"):
        Squeeze()(torch.zeros(1, 1, *size), NO_CONTEXT)
