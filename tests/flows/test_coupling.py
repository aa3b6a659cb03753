"""The coupling keeps one part, changes the other within bounds, and starts as the identity."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cflowtool.flows.coupling import AffineCoupling

Randomise = Callable[..., nn.Module]
CHANNELS, WIDTH = 5, 8


def scale_and_shift(coupling: AffineCoupling, kept: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
    """What the coupling does to 0 and to 1."""
    changed = torch.zeros(len(kept), coupling.changed, *kept.shape[2:], dtype=kept.dtype)
    zero, one = (coupling(torch.cat((c, kept), 1), context)[0][:, : coupling.changed] for c in (changed, changed + 1))
    return (one - zero).log(), zero


@pytest.mark.parametrize("size", [1.0, 1e3, 1e6])
@pytest.mark.parametrize("bounds", [(1.0, 4.0), (2.0, 0.5)])
def test_scale_and_shift_stay_within_their_bounds_for_any_input(
    size: float, bounds: tuple[float, float], randomised: Randomise
) -> None:
    coupling = randomised(AffineCoupling(CHANNELS, WIDTH, *bounds), 1.0)
    kept, context = (size * torch.randn(4, c, 6, 6, dtype=torch.float64) for c in (coupling.kept, WIDTH))
    for values, bound in zip(scale_and_shift(coupling, kept, context), bounds, strict=True):
        assert values.abs().max() <= bound + 1e-9
        assert size == 1 or values.abs().max() > 0.99 * bound


def test_the_kept_part_passes_and_decides_alone(randomised: Randomise) -> None:
    coupling = randomised(AffineCoupling(CHANNELS, WIDTH))
    y, context = (torch.randn(2, c, 4, 4, dtype=torch.float64) for c in (CHANNELS, WIDTH))
    other = y.clone()
    other[:, : coupling.changed].normal_()
    assert torch.equal(coupling(y, context)[0][:, coupling.changed :], y[:, coupling.changed :])
    assert torch.equal(coupling(y, context)[1], coupling(other, context)[1])


def test_it_starts_as_the_identity() -> None:
    coupling = AffineCoupling(CHANNELS, WIDTH)
    y, context = torch.randn(2, CHANNELS, 4, 4), torch.randn(2, WIDTH, 4, 4)
    z, log_det = coupling(y, context)
    assert torch.equal(z, y) and not log_det.any()


@pytest.mark.parametrize("bounds", [(1.0, 4.0), (2.0, 0.5)])
def test_its_gradients_are_those_of_the_formula(bounds: tuple[float, float], randomised: Randomise) -> None:
    coupling = randomised(AffineCoupling(CHANNELS, WIDTH, *bounds), 1.0)
    y, context = (torch.randn(2, c, 4, 4, dtype=torch.float64, requires_grad=True) for c in (CHANNELS, WIDTH))
    changed, kept = y.split((coupling.changed, coupling.kept), 1)
    scale, shift = coupling.net(kept, context).chunk(2, 1)
    log_scale = bounds[0] * scale
    formula = torch.cat((log_scale.exp() * changed + bounds[1] * shift, kept), 1), log_scale.sum((1, 2, 3))
    wanted_for = [y, context, *coupling.parameters()]
    found, wanted = (
        torch.autograd.grad(z.pow(3).sum() + log_det.sin().sum(), wanted_for)
        for z, log_det in (coupling(y, context), formula)
    )
    for value, other in zip(found, wanted, strict=True):
        assert other.any() and torch.allclose(value, other, rtol=1e-9, atol=1e-9)
    with torch.no_grad():
        for value, other in zip(coupling(y, context), formula, strict=True):
            assert torch.allclose(value, other, rtol=1e-12, atol=1e-12)
