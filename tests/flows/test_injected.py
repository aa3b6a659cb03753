"""All injectors' parameters at once are those of one after another, kept or computed again."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cflowtool.flows.injected import InjectedSteps
from cflowtool.flows.injector import LOG_SCALE_BOUND, AffineInjector
from cflowtool.flows.pyramid import Chain
from cflowtool.flows.transform import bounded

Randomise = Callable[..., nn.Module]
CHANNELS, WIDTH, STEPS = 4, 6, 3


@pytest.fixture
def steps(randomised: Randomise) -> InjectedSteps:
    torch.manual_seed(0)
    built = randomised(InjectedSteps(CHANNELS, WIDTH, [None] * STEPS))
    assert isinstance(built, InjectedSteps)
    return built


def given(batch: int = 2) -> list[Tensor]:
    """Return y, the injectors' shifts and log-scales, and the couplings' share."""
    generator = torch.Generator().manual_seed(1)
    counts = CHANNELS, CHANNELS * STEPS, CHANNELS * STEPS, WIDTH * STEPS
    return [torch.randn(batch, c, 4, 6, generator=generator, dtype=torch.float64) for c in counts]


def one_by_one(steps: InjectedSteps) -> Chain:
    parts = ([step.transforms["0"], AffineInjector(CHANNELS), step.transforms["2"]] for step in steps.transforms)
    return Chain([Chain(part) for part in parts])


@torch.no_grad()
def test_they_are_the_chain_of_transitions_injectors_and_couplings(steps: InjectedSteps) -> None:
    y, shifts, raw, couplings = given()
    context = shifts, bounded(raw, LOG_SCALE_BOUND), couplings
    by_step = [part.unflatten(1, (STEPS, -1)) for part in (shifts, raw, couplings)]
    chain, interleaved = one_by_one(steps), torch.cat(by_step, 2).flatten(1, 2)
    for ours, theirs in ((steps, chain), (steps.inverse, chain.inverse)):
        for found, wanted in zip(ours(y, *context), theirs(y, interleaved), strict=True):
            assert torch.allclose(found, wanted, rtol=1e-11, atol=1e-11)


def test_their_parameters_are_saved_by_the_names_of_that_chain(steps: InjectedSteps) -> None:
    assert set(steps.state_dict()) == set(one_by_one(steps).state_dict())


def test_recomputed_they_have_the_same_gradients(steps: InjectedSteps) -> None:
    inputs = [tensor.requires_grad_() for tensor in given()]
    wanted = [*inputs, *steps.train().parameters()]

    def gradients(recompute: bool) -> tuple[Tensor, ...]:
        steps.recompute = recompute
        z, log_det = steps(*inputs)
        return torch.autograd.grad(z.pow(3).sum() + log_det.sin().sum(), wanted)

    for found, value in zip(gradients(True), gradients(False), strict=True):
        assert value.any() and torch.allclose(found, value, rtol=1e-9, atol=1e-9)
