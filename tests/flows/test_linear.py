"""The 1x1 convolution is regular by construction, and fused it is the same map."""

from collections.abc import Callable
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cflowtool.flows.actnorm import ActNorm
from cflowtool.flows.linear import Affine1x1, Invertible1x1, Transition, cancelling, haar, rotation, wavelet_transitions
from cflowtool.flows.pyramid import Chain
from cflowtool.flows.translation import Rotation1x1

NO_CONTEXT = torch.zeros(1, 0, 1, 1)
Randomise = Callable[..., nn.Module]
CHANNELS = [1, 2, 7, 12]


@pytest.mark.parametrize("channels", CHANNELS)
def test_it_starts_at_a_rotation(channels: int) -> None:
    layer = Invertible1x1(channels).double()
    assert torch.allclose(layer.matrix() @ layer.matrix().T, torch.eye(channels).double(), atol=1e-6)
    assert layer.condition_number() == pytest.approx(1, abs=1e-5)


def test_it_starts_where_it_is_told_to() -> None:
    start = torch.randn(6, 6, generator=torch.Generator().manual_seed(3)).double()
    assert torch.allclose(Invertible1x1(6, start).matrix().double(), start, atol=1e-5)
    torch.manual_seed(0)
    assert not torch.equal(rotation(6), rotation(6))


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_haar_is_orthogonal_and_its_first_channels_are_the_averages(channels: int) -> None:
    matrix = haar(channels)
    assert torch.allclose(matrix @ matrix.T, torch.eye(4 * channels).double())
    y = torch.randn(2, channels, 6, 4, dtype=torch.float64)
    coefficients = torch.einsum("ij,bjhw->bihw", matrix, F.pixel_unshuffle(y, 2))
    assert torch.allclose(coefficients[:, :channels], 2 * F.avg_pool2d(y, 2))
    flat = torch.einsum("ij,bjhw->bihw", matrix, F.pixel_unshuffle(torch.ones_like(y), 2))
    assert flat[:, channels:].abs().max() < 1e-12


@pytest.mark.parametrize(("channels", "count"), [(1, 1), (5, 1), (5, 2), (8, 7)])
def test_cancelling_rotations_end_where_they_began(channels: int, count: int) -> None:
    matrices = cancelling(channels, count)
    product = torch.eye(channels).double()
    for matrix in matrices:
        assert torch.allclose(matrix @ matrix.T, torch.eye(channels).double())
        product = matrix @ product
    assert len(matrices) == count and torch.allclose(product, torch.eye(channels).double())


def test_transitions_after_a_squeeze_start_at_one_wavelet_transform() -> None:
    torch.manual_seed(0)
    chain = Chain(list(wavelet_transitions(2, 2))).double().eval()
    y = torch.randn(1, 2, 4, 4, dtype=torch.float64)
    z, _ = chain(F.pixel_unshuffle(y, 2), NO_CONTEXT.double())
    assert torch.allclose(z[:, :2], 2 * F.avg_pool2d(y, 2), atol=1e-5)


@pytest.mark.parametrize("channels", CHANNELS)
def test_its_inverse_determinant_and_condition_number_are_the_matrix_own(channels: int, randomised: Randomise) -> None:
    layer = randomised(Invertible1x1(channels))
    matrix = layer.matrix().detach()
    assert torch.allclose(layer.inverse_matrix() @ matrix, torch.eye(channels).double(), atol=1e-9)
    assert layer.log_s.sum().item() == pytest.approx(torch.linalg.slogdet(matrix).logabsdet.item(), abs=1e-9)
    singular = np.linalg.svd(matrix.numpy(), compute_uv=False)
    assert layer.condition_number() == pytest.approx(singular[0] / singular[-1], rel=1e-9)


def test_the_inverse_of_an_ill_conditioned_matrix_is_as_exact_as_its_precision() -> None:
    layer = Invertible1x1(12)
    with torch.no_grad():
        layer.log_s.add_(torch.linspace(-4, 4, 12))
    assert layer.condition_number() > 1e3 and layer.inverse_matrix().dtype == torch.float32
    error = layer.inverse_matrix().double() @ layer.matrix().double() - torch.eye(12)
    assert error.abs().max() < layer.condition_number() * 1e-6


def test_a_transition_is_normalization_then_convolution(randomised: Randomise) -> None:
    fused = randomised(Transition(5))
    chain = Chain([fused.actnorm, fused.linear])
    y = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    for direction, plain in ((fused, chain), (fused.inverse, chain.inverse)):
        for result, wanted in zip(direction(y, NO_CONTEXT), plain(y, NO_CONTEXT), strict=True):
            assert torch.allclose(result, wanted, rtol=0, atol=1e-9)


def test_a_transition_starts_from_its_first_batch_as_the_normalization_does() -> None:
    y = 3 + 2 * torch.randn(4, 5, 6, 6)
    fused, actnorm = Transition(5), ActNorm(5)
    fused(y, NO_CONTEXT)
    actnorm(y, NO_CONTEXT)
    assert torch.equal(fused.actnorm.log_scale, actnorm.log_scale) and torch.equal(fused.actnorm.bias, actnorm.bias)


PREPARED = {"Invertible1x1": Invertible1x1, "Transition": Transition, "Rotation1x1": Rotation1x1}


@pytest.fixture(params=PREPARED)
def affine(request: pytest.FixtureRequest, randomised: Randomise) -> Affine1x1:
    """One of the kinds, in use and not in training, its parameters away from their start."""
    torch.manual_seed(2)
    return randomised(PREPARED[request.param](6)).eval()


def both_ways(affine: Affine1x1) -> list[torch.Tensor]:
    y = torch.randn(2, 6, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    nothing = y[:, :0]
    return [*affine(y, nothing), *affine.inverse(y, nothing)]


def test_prepared_is_the_same_map_and_saves_the_same_state(affine: Affine1x1) -> None:
    plain, state = both_ways(affine), set(affine.state_dict())
    assert not affine.prepared
    affine.prepare()
    assert affine.prepared and set(affine.state_dict()) == state
    assert all(torch.equal(found, value) for found, value in zip(both_ways(affine), plain, strict=True))


@pytest.mark.parametrize("change", ["optimiser", "loading"])
def test_what_was_prepared_is_void_when_parameters_change(affine: Affine1x1, change: str) -> None:
    affine.prepare()
    before = both_ways(affine)
    if change == "loading":
        affine.load_state_dict({name: value + 0.1 for name, value in affine.state_dict().items()}, strict=True)
    if change == "optimiser":
        sum(value.pow(3).sum() for value in affine.parameters()).backward()
        torch.optim.SGD(affine.parameters(), 0.1).step()
    assert not affine.prepared and not torch.equal(both_ways(affine)[0], before[0])


def test_training_does_not_use_what_was_prepared(affine: Affine1x1) -> None:
    affine.prepare()
    assert not affine.train().prepared and affine.eval().prepared
    assert affine(torch.randn(1, 6, 2, 2).double(), torch.zeros(1, 0, 1, 1))[0].requires_grad is False
    with torch.enable_grad():
        assert affine.train()(torch.randn(1, 6, 2, 2).double(), torch.zeros(1, 0, 1, 1))[0].requires_grad


def test_what_was_prepared_is_copied_with_the_model_and_void_where_it_moves(affine: Affine1x1) -> None:
    affine.prepare()
    copied = deepcopy(affine)
    with torch.no_grad():
        next(affine.parameters()).add_(1)
    assert not affine.prepared
    plain = both_ways(copied)
    copied.prepare()
    assert all(torch.equal(found, value) for found, value in zip(both_ways(copied), plain, strict=True))
    assert copied.prepared and not copied.half().prepared and not copied.double().prepared
    for found, value in zip(both_ways(copied), plain, strict=True):
        assert torch.allclose(found, value, atol=0.02) and found.dtype == value.dtype


@torch.no_grad()
def test_maps_one_after_another_are_one(affine: Affine1x1, randomised: Randomise) -> None:
    torch.manual_seed(3)
    other = randomised(Transition(6)).eval()
    y = torch.randn(2, 6, 3, 5, dtype=torch.float64)
    both, nothing = affine.as_map().then(other.as_map()), y[:, :0]
    z, first = affine(y, nothing)
    z, second = other(z, nothing)
    assert torch.allclose(both.there(y), z, atol=1e-11) and torch.allclose(both.back(z), y, atol=1e-9)
    assert torch.allclose(15 * both.per_position, (first + second)[0])
