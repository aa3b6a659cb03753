"""Trunks keep the size of their input and start near the identity."""

import pytest
import torch
from torch import nn

from cflowtool.nets.rrdb import RRDB, DenseBlock, ResidualBlock, Trunk

BLOCKS = {
    "dense": lambda: DenseBlock(8, 4),
    "rrdb": lambda: RRDB(8, 4),
    "residual": lambda: ResidualBlock(8),
    "trunk": lambda: Trunk(8, 8, 2),
    "trunk of rrdbs": lambda: Trunk(8, 8, 2, 4),
}


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("size", [(1, 1), (3, 7)])
def test_any_size_keeps_its_size_and_the_input_stays_as_it_was(name: str, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 8, *size)
    before = x.clone()
    y = BLOCKS[name]()(x)
    assert y.shape == x.shape and torch.isfinite(y).all() and torch.equal(x, before)


@torch.no_grad()
def adding(block: nn.Module, amount: float) -> nn.Module:
    """The block whose dense blocks' last convolutions answer ``amount`` and nothing else."""
    for parameter in block.parameters():
        parameter.zero_()
    for part in block.modules():
        if isinstance(part, DenseBlock):
            part.last.bias.fill_(amount)
    return block


def test_residuals_are_scaled_by_a_fifth_inside_and_outside() -> None:
    x = torch.randn(1, 8, 4, 4)
    assert torch.allclose(adding(DenseBlock(8, 4), 5.0)(x), x + 1, atol=1e-6)
    assert torch.allclose(adding(RRDB(8, 4), 5.0)(x), x + 0.2 * (x + 3), atol=1e-6)


def test_a_dense_convolution_sees_all_features_before_it() -> None:
    block = DenseBlock(8, 4)
    assert [conv.in_channels for conv in (*block.convs, block.last)] == [8, 12, 16, 20, 24]


def test_a_residual_block_starts_as_the_identity() -> None:
    x = torch.randn(1, 8, 4, 4)
    assert torch.equal(ResidualBlock(8)(x), x)


@pytest.mark.parametrize(("growth", "kind"), [(0, ResidualBlock), (4, RRDB)])
def test_the_growth_chooses_the_blocks(growth: int, kind: type[nn.Module]) -> None:
    assert [type(block) for block in Trunk(3, 8, 3, growth).blocks] == [kind] * 3
