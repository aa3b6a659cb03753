"""Activation normalization starts from its first batch, once."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from cflowtool.flows.actnorm import ActNorm
from cflowtool.flows.linear import Transition

NO_CONTEXT = torch.zeros(1, 0, 1, 1)


def batch(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(8, 3, 6, 5, generator=generator)
    return noise * torch.tensor([0.01, 1.0, 300.0])[:, None, None] + torch.tensor([-5.0, 0.0, 70.0])[:, None, None]


def actnorm_of(module: nn.Module) -> ActNorm:
    return next(part for part in module.modules() if isinstance(part, ActNorm))


def test_the_first_batch_gets_zero_mean_and_unit_variance() -> None:
    z, _ = ActNorm(3)(batch(0), NO_CONTEXT)
    assert z.mean((0, 2, 3)).abs().max() < 1e-3
    assert (z.var((0, 2, 3), correction=0) - 1).abs().max() < 1e-3


@pytest.mark.parametrize("kind", [ActNorm, Transition])
def test_later_batches_change_nothing(kind: type[nn.Module]) -> None:
    module = kind(3)
    before, _ = module(batch(0), NO_CONTEXT)
    module(batch(1) * 9 + 4, NO_CONTEXT)
    assert torch.equal(module(batch(0), NO_CONTEXT)[0], before)


@pytest.mark.parametrize("kind", [ActNorm, Transition])
def test_having_started_survives_saving_and_loading(kind: type[nn.Module]) -> None:
    first, second = kind(3), kind(3)
    first(batch(0), NO_CONTEXT)
    second.load_state_dict(first.state_dict())
    assert bool(actnorm_of(second).initialised) and second.training
    assert torch.equal(second(batch(1), NO_CONTEXT)[0], first(batch(1), NO_CONTEXT)[0])


def test_use_without_training_never_starts() -> None:
    actnorm = ActNorm(3).eval()
    z, log_det = actnorm(batch(0), NO_CONTEXT)
    assert torch.equal(z, batch(0)) and not log_det.any() and not actnorm.initialised


def test_a_constant_channel_stays_finite_and_is_scaled_by_no_more_than_ten_thousand() -> None:
    actnorm = ActNorm(2)
    y = torch.stack((torch.full((4, 3, 3), 0.7), torch.randn(4, 3, 3)), 1)
    z, log_det = actnorm(y, NO_CONTEXT)
    assert torch.isfinite(z).all() and torch.isfinite(log_det).all()
    assert actnorm.log_scale.exp().max() <= 1e4 * (1 + 1e-5)
    assert torch.allclose(actnorm.inverse(z, NO_CONTEXT)[0], y, atol=1e-5)


class Asked(TorchDispatchMode):
    """Counts how often the CPU asks for a number of a tensor, for which it waits where that is on a GPU."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None) -> object:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_whether_it_has_started_is_asked_once() -> None:
    module = Transition(3)
    for asked in (1, 1, 0, 0):
        with Asked() as mode:
            module(batch(0), NO_CONTEXT)
        assert mode.count == asked


def test_what_is_loaded_is_asked_for_again() -> None:
    fresh, module = ActNorm(3).state_dict(), ActNorm(3)
    for _ in range(3):
        module(batch(0), NO_CONTEXT)
    module.load_state_dict(fresh)
    module(batch(1) * 9 + 4, NO_CONTEXT)
    assert module.initialised and torch.equal(module.bias, -(batch(1) * 9 + 4).transpose(0, 1).flatten(1).mean(1))
