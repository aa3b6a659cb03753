"""The mapping network keeps its input's size in the answer's spread, whatever its depth."""

import pytest
import torch

from cflowtool.nets.mapping import MappingNet


@pytest.mark.parametrize("layers", [0, 1, 8])
@pytest.mark.parametrize("dim", [16, 128])
@torch.no_grad()
def test_at_the_start_the_answers_are_spread_by_a_tenth_however_deep_it_is(layers: int, dim: int) -> None:
    torch.manual_seed(0)
    out = MappingNet(dim, 256, layers, 64)(torch.randn(200, dim, 1, 1))
    assert out.shape == (200, 64, 1, 1) and 0.06 < out.square().mean().sqrt() < 0.15
    assert out.std(0).mean() > 0.04


@torch.no_grad()
def test_an_answer_is_the_same_bits_in_every_batch() -> None:
    net, z = MappingNet(8, 16, 3, 5).double(), torch.randn(7, 8, 1, 1, dtype=torch.float64)
    assert torch.equal(net(z)[2:3], net(z[2:3]))


def test_it_is_layers_of_one_width_and_a_linear_one() -> None:
    net = MappingNet(8, 16, 3, 5)
    assert [(layer.in_channels, layer.out_channels) for layer in net.dense] == [(8, 16), (16, 16), (16, 16)]
    net.last.bias.data.fill_(-1.0)
    net.last.weight.data.zero_()
    assert (net(torch.randn(1, 8, 1, 1)) == -1).all()
