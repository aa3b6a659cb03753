"""The conditioning of a chain is that of its steps' own nets on the concatenated input."""

import torch
from torch import nn
from torch.nn import functional as F

from cflowtool.nets.condition import ConditionNet

KNOWN, DRAWN, STEPS, CHANNELS, WIDTH = 3, 2, 3, 4, 5


def warmed(known: int = KNOWN, drawn: int = DRAWN) -> ConditionNet:
    torch.manual_seed(0)
    net = ConditionNet(known, drawn, STEPS, CHANNELS, WIDTH)
    nn.init.normal_(net.last.weight)
    return net.double()


def test_each_step_has_the_net_of_its_own() -> None:
    net = warmed()
    u, v = (torch.randn(2, c, 4, 6, dtype=torch.float64) for c in (KNOWN, DRAWN))
    shifts, log_scales, couplings = (part.unflatten(1, (STEPS, -1)) for part in net(net.hidden(u), v))
    kernel = torch.cat((net.from_known.weight, net.from_drawn.weight), 1)
    first = F.conv2d(torch.cat((u, v), 1), kernel, net.from_known.bias, padding=1)
    for k in range(STEPS):
        own = slice(k * WIDTH, (k + 1) * WIDTH)
        middle = F.conv2d(first[:, own].relu(), net.middle.weight[own], net.middle.bias[own]).relu()
        last = slice(k * 2 * CHANNELS, (k + 1) * 2 * CHANNELS)
        injector = F.conv2d(middle, net.last.weight[last], net.last.bias[last], padding=1)
        shift, raw = injector.chunk(2, 1)
        assert torch.allclose(shifts[:, k], shift, atol=1e-12)
        assert torch.allclose(log_scales[:, k], net.bound * torch.tanh(raw / net.bound), atol=1e-12)
        assert torch.allclose(couplings[:, k], first[:, STEPS * WIDTH :][:, own], atol=1e-12)


def test_one_image_serves_many_samples() -> None:
    net = warmed()
    hidden, v = net.hidden(torch.randn(1, KNOWN, 4, 4, dtype=torch.float64)), torch.randn(3, DRAWN, 4, 4).double()
    alone = zip(*(net(hidden, one[None]) for one in v), strict=True)
    for whole, parts in zip(net(hidden, v), alone, strict=True):
        assert torch.allclose(whole, torch.cat(parts), atol=1e-12)


def test_either_part_may_be_missing() -> None:
    u = torch.randn(2, KNOWN, 4, 4, dtype=torch.float64)
    alone = warmed(drawn=0)
    shapes = [(2, STEPS * CHANNELS, 4, 4)] * 2 + [(2, STEPS * WIDTH, 4, 4)]
    assert [part.shape for part in alone(alone.hidden(u))] == shapes
    blind = warmed(known=0)
    assert [part.shape for part in blind(blind.hidden(u[:, :0]), u[:, :DRAWN])] == shapes


def test_the_injectors_start_at_zero_and_learn() -> None:
    net = ConditionNet(KNOWN, 0, STEPS, CHANNELS, WIDTH)
    *out, _ = net(net.hidden(torch.randn(1, KNOWN, 4, 4)))
    assert not any(part.any() for part in out)
    sum((part - 1).square().sum() for part in out).backward()
    assert all(part.abs().max() > 0 for part in net.last.weight.grad.unflatten(0, (STEPS, 2, -1)).unbind(1))


@torch.no_grad()
def test_prepared_it_gives_the_same() -> None:
    net, generator = warmed().float().eval(), torch.Generator().manual_seed(1)
    u, v = (torch.randn(2, c, 4, 6, generator=generator) for c in (KNOWN, DRAWN))
    wanted = net(net.hidden(u), v)
    for found, value in zip(net.prepare()(net.hidden(u), v), wanted, strict=True):
        assert torch.allclose(found, value, atol=1e-5)
    for found, value in zip(net.train()(net.hidden(u), v), wanted, strict=True):
        assert torch.equal(found, value)
