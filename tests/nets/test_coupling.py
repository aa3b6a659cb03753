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


def bounded_net(bounds: torch.Tensor) -> CouplingNet:
    torch.manual_seed(0)
    net = CouplingNet(CHANNELS, WIDTH, OUT, bounds)
    net.load_state_dict(warmed().state_dict())
    return net.eval()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@torch.no_grad()
def test_with_bounds_it_answers_the_share_of_them_prepared_or_not(dtype: torch.dtype) -> None:
    bounds = torch.tensor([1.0, 1.0, 1.0, 4.0, 4.0, 0.5])
    net, plain = bounded_net(bounds).to(dtype), warmed().double()
    z, hidden = (torch.randn(2, c, 5, 7, dtype=dtype) for c in (CHANNELS, WIDTH))
    wanted = torch.tanh(plain(z.double(), hidden.double()) / bounds[:, None, None])
    exact = {torch.float32: 1e-5, torch.float64: 1e-12}[dtype]
    assert torch.allclose(net(z, hidden).double(), wanted, rtol=0, atol=exact)
    for module in (net, *net.children()):
        module.prepare()
    assert torch.allclose(net(z, hidden).double(), wanted, rtol=0, atol=exact)
    with torch.autocast("cpu", torch.bfloat16):
        assert net(z, hidden).dtype == dtype


def test_a_bias_is_a_hidden_that_is_the_same_everywhere() -> None:
    net, z, bias = warmed().double(), torch.randn(2, CHANNELS, 4, 4).double(), torch.randn(1, WIDTH, 1, 1).double()
    assert torch.allclose(net(z, None, bias), net(z, bias.expand(2, -1, 4, 4)), rtol=0, atol=1e-12)
