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
    found = net(net.hidden(u), v).unflatten(1, (STEPS, 2 * CHANNELS + WIDTH))
    kernel = torch.cat((net.from_known.weight, net.from_drawn.weight), 1)
    first = F.conv2d(torch.cat((u, v), 1), kernel, net.from_known.bias, padding=1)
    for k in range(STEPS):
        own = slice(k * WIDTH, (k + 1) * WIDTH)
        middle = F.conv2d(first[:, own].relu(), net.middle.weight[own], net.middle.bias[own]).relu()
        last = slice(k * 2 * CHANNELS, (k + 1) * 2 * CHANNELS)
        injector = F.conv2d(middle, net.last.weight[last], net.last.bias[last], padding=1)
        assert torch.allclose(found[:, k, : 2 * CHANNELS], injector, atol=1e-12)
        assert torch.allclose(found[:, k, 2 * CHANNELS :], first[:, STEPS * WIDTH :][:, own], atol=1e-12)


def test_one_image_serves_many_samples() -> None:
    net = warmed()
    hidden, v = net.hidden(torch.randn(1, KNOWN, 4, 4, dtype=torch.float64)), torch.randn(3, DRAWN, 4, 4).double()
    whole = net(hidden, v)
    assert torch.allclose(whole, torch.cat([net(hidden, one[None]) for one in v]), atol=1e-12)


def test_either_part_may_be_missing() -> None:
    u = torch.randn(2, KNOWN, 4, 4, dtype=torch.float64)
    alone = warmed(drawn=0)
    assert alone(alone.hidden(u)).shape == (2, STEPS * (2 * CHANNELS + WIDTH), 4, 4)
    blind = warmed(known=0)
    assert blind(blind.hidden(u[:, :0]), u[:, :DRAWN]).shape == (2, STEPS * (2 * CHANNELS + WIDTH), 4, 4)


def test_the_injectors_start_at_zero_and_learn() -> None:
    net = ConditionNet(KNOWN, 0, STEPS, CHANNELS, WIDTH)
    out = net(net.hidden(torch.randn(1, KNOWN, 4, 4))).unflatten(1, (STEPS, -1))[:, :, : 2 * CHANNELS]
    assert not out.any()
    (out - 1).square().sum().backward()
    assert net.last.weight.grad.abs().max() > 0
