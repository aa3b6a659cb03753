"""Recomputed activations give the gradients that kept ones give."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cflowtool.flows.conditional_pyramid import ConditionalLevel
from cflowtool.flows.injector import AffineInjector
from cflowtool.flows.pyramid import Chain, affine_step
from cflowtool.flows.recompute import recomputed
from cflowtool.flows.transform import Region, counted, variable

Randomise = Callable[..., nn.Module]
CHANNELS, WIDTH, STEPS = 4, 6, 3


def chain(randomised: Randomise) -> Chain:
    torch.manual_seed(0)
    steps = [
        affine_step(WIDTH, 1.0, 4.0)(CHANNELS),
        Chain([AffineInjector(CHANNELS), affine_step(WIDTH, 1.0, 4.0)(CHANNELS)]),
        affine_step(WIDTH, 1.0, 4.0)(4),
    ]
    return randomised(Chain(steps)).train()


def inputs(channels: int, context: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = (2, channels, 4, 6), (2, context, 4, 6)
    y, x = (torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes)
    return y, x


def gradients(flow: nn.Module, wanted: list[Tensor], *given: Tensor) -> list[Tensor]:
    z, *rest = flow(*given)
    loss = z.pow(3).sum() + sum((k * t.sin()).sum() for k, t in enumerate(rest, 1))
    return [loss.detach(), *torch.autograd.grad(loss, wanted)]


def assert_the_same(flow: nn.Module, *given: Tensor) -> None:
    wanted = [*given, *flow.parameters()]
    flow.recompute = False
    plain = gradients(flow, wanted, *given)
    flow.recompute = True
    for found, value in zip(gradients(flow, wanted, *given), plain, strict=True):
        assert torch.allclose(found, value, rtol=1e-9, atol=1e-9)


def test_a_chain_has_the_same_gradients(randomised: Randomise) -> None:
    flow = chain(randomised)
    assert_the_same(flow, *inputs(CHANNELS, flow.context_channels))


def test_a_level_with_weights_made_of_x_has_the_same_gradients(randomised: Randomise) -> None:
    torch.manual_seed(0)
    level = randomised(ConditionalLevel(2, STEPS, WIDTH, last=False)).train()
    y, whole = inputs(2, sum(level.map_shares))
    maps = whole.detach()[..., :2, :3].split(level.map_shares, 1)
    vectors = torch.randn(2, sum(level.vector_shares), 1, 1, dtype=torch.float64, requires_grad=True)
    assert_the_same(level, y, vectors, *(part.clone().requires_grad_() for part in maps))


def test_regions_and_variables_of_the_forward_pass_hold_when_gradients_are_made(randomised: Randomise) -> None:
    flow = chain(randomised)
    y, context = inputs(CHANNELS, flow.context_channels)
    where = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]], dtype=torch.float64)[None, None]

    def of(recompute: bool) -> list[Tensor]:
        flow.recompute = recompute
        with variable(where), counted(Region(4, 6, 0, 0, 2, 6)):
            z, log_det = flow(y, context)
        return list(torch.autograd.grad(z.pow(3).sum() + log_det.sin().sum(), [y, context, *flow.parameters()]))

    for found, value in zip(of(True), of(False), strict=True):
        assert value.abs().sum() >= 0 and torch.allclose(found, value, rtol=1e-9, atol=1e-9)


def test_autocast_of_the_forward_pass_holds_when_gradients_are_made(randomised: Randomise) -> None:
    flow = chain(randomised).float()
    y, context = (t.detach().float().requires_grad_() for t in inputs(CHANNELS, flow.context_channels))

    def of(recompute: bool) -> list[Tensor]:
        flow.recompute = recompute
        with torch.autocast("cpu", torch.bfloat16):
            z, log_det = flow(y, context)
        return list(torch.autograd.grad(z.square().sum() + log_det.sum(), [y, *flow.parameters()]))

    for found, value in zip(of(True), of(False), strict=True):
        assert torch.allclose(found, value, rtol=0.1, atol=0.05 * float(value.abs().max()) + 1e-3)


@pytest.mark.parametrize("steps", [2, 8])
def test_what_is_kept_is_the_end_and_the_contexts_alone(randomised: Randomise, steps: int) -> None:
    torch.manual_seed(0)
    modules = [randomised(affine_step(WIDTH, 1.0, 4.0)(CHANNELS)) for _ in range(steps)]
    y, context = inputs(CHANNELS, WIDTH)
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        z, log_det = recomputed(modules, y, [(context,)] * steps)
    assert len(kept) == 1 + steps and kept[0] == z.numel() and log_det.shape == (2,)


def test_use_and_evaluation_are_not_changed(randomised: Randomise) -> None:
    flow = chain(randomised)
    flow.recompute = True
    y, context = inputs(CHANNELS, flow.context_channels)
    with torch.no_grad():
        z, log_det = flow(y, context)
        back, again = flow.inverse(z, context)
    assert torch.allclose(back, y, atol=1e-9) and torch.allclose(log_det, -again, atol=1e-9)
