"""Maps made at once are those that each step makes, and so are their gradients."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cflowtool.flows.linear import Transition
from cflowtool.flows.pyramid import Chain, affine_step
from cflowtool.flows.together import made_together

Randomise = Callable[..., nn.Module]


def steps(randomised: Randomise) -> nn.ModuleList:
    torch.manual_seed(0)
    built = nn.ModuleList(Transition(channels) for channels in (4, 6, 4, 4, 6))
    for step in built:
        step.actnorm.initialised.fill_(True)
    made = randomised(built)
    assert isinstance(made, nn.ModuleList)
    return made.train()


def results(parts: nn.ModuleList) -> list[Tensor]:
    found = []
    for step in parts:
        channels = step.linear.log_s.numel()
        y = torch.randn(2, channels, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        found += [*step(y, y[:, :0])]
    return found


def gradients(parts: nn.ModuleList, values: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(sum(value.pow(3).sum() for value in values), list(parts.parameters()))


def test_values_and_gradients_are_those_of_each_step_alone(randomised: Randomise) -> None:
    parts = steps(randomised)
    wanted = results(parts)
    with made_together(parts):
        assert all(step.has_map for step in parts)
        found = results(parts)
    assert not any(step.has_map for step in parts)
    pairs = zip([*found, *gradients(parts, found)], [*wanted, *gradients(parts, wanted)], strict=True)
    for value, other in pairs:
        assert other.any() and torch.allclose(value, other, rtol=1e-10, atol=1e-10)


def test_before_the_first_batch_each_waits_for_the_one_before(randomised: Randomise) -> None:
    parts = steps(randomised)
    parts[3].actnorm.initialised.fill_(False)
    with made_together(parts):
        assert not any(step.has_map for step in parts)
    chain = Chain([Transition(4) for _ in range(3)]).train()
    y = 5 + 3 * torch.randn(64, 4, 8, 8)
    middle, _ = chain.transforms[0](y, y[:, :0])
    z, _ = Chain(list(chain.transforms))(y, y[:, :0])
    for values in (middle, z):
        assert torch.allclose(values.mean((0, 2, 3)), torch.zeros(4), atol=1e-4)
    assert all(step.actnorm.seen for step in chain.transforms)


def test_what_was_lent_is_given_back_after_an_error(randomised: Randomise) -> None:
    parts = steps(randomised)
    with pytest.raises(ZeroDivisionError), made_together(parts):
        raise ZeroDivisionError
    assert not any(step.has_map for step in parts)


@pytest.mark.parametrize("training", [False, True])
def test_chains_use_it_and_are_still_their_steps_in_order(training: bool, randomised: Randomise) -> None:
    torch.manual_seed(0)
    chain = randomised(Chain([affine_step(3, 1.0, 4.0)(4) for _ in range(3)])).train(training)
    y, context = torch.randn(2, 4, 4, 4).double(), torch.randn(1, 9, 4, 4).double()
    for leaf in chain.leaves():
        if isinstance(leaf, Transition):
            leaf.actnorm.initialised.fill_(True)
    z, log_det = y, torch.zeros(2).double()
    for step, part in zip(chain.transforms, context.split(3, 1), strict=True):
        for leaf in step.leaves():
            z, change = leaf(z, part)
            log_det = log_det + change
    for value, other in zip(chain(y, context), (z, log_det), strict=True):
        assert torch.allclose(value, other, rtol=1e-10, atol=1e-10)
