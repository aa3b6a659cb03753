"""A network that keeps the inputs of its parts alone has the same values and gradients."""

import pytest
import torch
from torch import Tensor, nn

from cflowtool.nets.recompute import Thrifty
from cflowtool.nets.rrdb import Trunk
from cflowtool.nets.vgg import UNet

NETS = {"trunk": lambda: Trunk(3, 4, 2, 2), "unet": lambda: UNet(3, 4, 1, "none")}


def kept_and_gradients(net: Thrifty, x: Tensor, recompute: bool) -> tuple[int, list[Tensor]]:
    net.recompute, kept = recompute, []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        out = net(x)
    loss = sum(part.square().sum() for part in out) if isinstance(out, tuple) else out.square().sum()
    inside = sum(kept)
    return inside, list(torch.autograd.grad(loss, [x, *net.parameters()]))


@pytest.mark.parametrize("kind", NETS)
def test_less_is_kept_and_the_gradients_are_the_same(kind: str, randomised) -> None:
    torch.manual_seed(0)
    net: nn.Module = randomised(NETS[kind]()).train()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    (plain, wanted), (thrifty, found) = (kept_and_gradients(net, x, recompute) for recompute in (False, True))
    assert thrifty < plain / 2
    assert all(torch.allclose(one, other, rtol=1e-9, atol=1e-12) for one, other in zip(found, wanted, strict=True))


def test_what_is_not_trained_or_not_asked_for_gets_no_gradient() -> None:
    net = Thrifty().train()
    net.recompute, part = True, nn.Conv2d(2, 3, 3)
    part.weight.requires_grad_(False)
    x = torch.randn(2, 2, 8, 8)
    net.part(part, x).square().sum().backward()
    assert part.weight.grad is None and part.bias is not None and part.bias.grad is not None and x.grad is None


def test_autocast_of_the_forward_pass_holds_when_gradients_are_made() -> None:
    torch.manual_seed(0)
    net, seen = Thrifty().train(), []
    net.recompute, part = True, nn.Sequential(nn.Conv2d(2, 4, 3), nn.Conv2d(4, 2, 3))
    part[0].register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        loss = net.part(part, torch.randn(2, 2, 8, 8)).float().square().sum()
    loss.backward()
    assert seen == [torch.bfloat16, torch.bfloat16]
