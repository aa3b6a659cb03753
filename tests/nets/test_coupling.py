"""The coupling's network is a plain network of the concatenated [z, h], its constant part taken out."""

import pytest
import torch
from torch import nn

from cflowtool.nets.coupling import CouplingNet

CHANNELS, CONTEXT, WIDTH, OUT = 3, 5, 8, 6


def warmed() -> CouplingNet:
    torch.manual_seed(0)
    net = CouplingNet(CHANNELS, WIDTH, OUT)
    nn.init.normal_(net.last.weight)
    nn.init.normal_(net.last.bias)
    return net


def test_it_equals_the_network_of_the_concatenation() -> None:
    net, of_context = warmed().double(), nn.Conv2d(CONTEXT, WIDTH, 3, padding=1).double()
    first = nn.Conv2d(CHANNELS + CONTEXT, WIDTH, 3, padding=1).double()
    first.load_state_dict({"weight": torch.cat((net.first.weight, of_context.weight), 1), "bias": of_context.bias})
    plain = nn.Sequential(first, nn.ReLU(), net.middle, nn.ReLU(), net.last)
    z, h = (torch.randn(2, c, 5, 7, dtype=torch.float64) for c in (CHANNELS, CONTEXT))
    assert torch.allclose(net(z, of_context(h)), plain(torch.cat((z, h), 1)), rtol=0, atol=1e-12)


def test_it_starts_at_zero_and_learns_from_there() -> None:
    net = CouplingNet(CHANNELS, WIDTH, OUT)
    out = net(torch.randn(2, CHANNELS, 4, 4), torch.randn(2, WIDTH, 4, 4))
    assert not out.any()
    (out - 1).square().sum().backward()
    assert net.last.weight.grad.abs().max() > 0


@pytest.mark.parametrize("size", [(1, 1), (3, 8)])
def test_any_size_keeps_its_size_and_the_inputs_stay_as_they_were(size: tuple[int, int]) -> None:
    z, hidden = torch.randn(2, CHANNELS, *size), torch.randn(1, WIDTH, *size)
    before = z.clone(), hidden.clone()
    assert warmed()(z, hidden).shape == (2, OUT, *size)
    assert torch.equal(z, before[0]) and torch.equal(hidden, before[1])


def test_it_answers_in_the_precision_of_z() -> None:
    z, hidden = torch.randn(2, CHANNELS, 4, 4), torch.randn(2, WIDTH, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        rough = warmed()(z, hidden.bfloat16())
    exact = warmed()(z, hidden)
    assert rough.dtype == torch.float32 and not torch.equal(rough, exact)
    assert (rough - exact).abs().max() < 0.05 * exact.abs().max()
