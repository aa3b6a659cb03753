"""Activation normalization starts from its first batch, once."""

import pytest
import torch
from torch import Tensor, nn

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
