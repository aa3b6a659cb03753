"""Maps made from x for a whole image: where they start, how far they can go, and the pyramid of them."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cflowtool.flows.conditional import (
    LOG_SCALE_BOUND,
    RADIUS,
    STRETCH_BOUND,
    Conditional1x1,
    ConditionalActNorm,
    ConditionalPyramid,
    ConditionalStep,
    HeadedStep,
)
from cflowtool.flows.transform import Transform

Randomise = Callable[..., nn.Module]
KINDS = [ConditionalActNorm, Conditional1x1]


@pytest.mark.parametrize("kind", KINDS)
def test_one_vector_is_the_same_at_all_positions(kind: type[Transform]) -> None:
    transform, y = kind(6).double(), torch.randn(3, 6, 4, 8, dtype=torch.float64)
    vector = torch.randn(3, transform.context_channels, 1, 1, dtype=torch.float64)
    for direction in (transform, transform.inverse):
        for context in (vector, vector[:1]):
            spread = context.expand(-1, -1, 4, 8)
            for result, wanted in zip(direction(y, context), direction(y, spread), strict=True):
                assert result.shape == wanted.shape and torch.allclose(result, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("channels", [1, 2, 12, 24])
def test_zeros_make_the_normalization_the_identity_and_the_convolution_a_rotation(channels: int) -> None:
    y = torch.randn(2, channels, 4, 4)
    zeros = torch.zeros(1, 2 * channels, 1, 1), torch.zeros(1, channels**2, 1, 1)
    still, log_det = ConditionalActNorm(channels)(y, zeros[0])
    assert torch.equal(still, y) and not log_det.any()
    layer = Conditional1x1(channels)
    matrix = layer.matrix(zeros[1])[0, 0, 0]
    assert torch.allclose(matrix @ matrix.T, torch.eye(channels), atol=1e-6) and not layer(y, zeros[1])[1].any()


def test_every_image_has_its_own_matrix_and_its_log_det_is_that_of_its_determinant() -> None:
    layer, y = Conditional1x1(7).double(), torch.randn(3, 7, 2, 5, dtype=torch.float64)
    context = torch.randn(3, 49, 1, 1, dtype=torch.float64)
    matrices = layer.matrix(context)[:, 0, 0]
    z, log_det = layer(y, context)
    assert torch.allclose(z, torch.einsum("bij,bjhw->bihw", matrices, y))
    assert torch.allclose(log_det, 10 * torch.linalg.slogdet(matrices).logabsdet, rtol=0, atol=1e-9)
    assert (matrices[0] - matrices[1]).abs().max() > 0.1


@pytest.mark.parametrize("channels", [4, 12, 48])
def test_no_context_however_large_makes_the_matrix_singular(channels: int) -> None:
    layer = Conditional1x1(channels).double()
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(8, channels**2, 1, 1, generator=generator, dtype=torch.float64)
    # Powers of a strict triangle N have |N^k| <= |N|^k / sqrt(k!), so that |(1 + N)^-1| is at most their sum.
    inverse = sum(RADIUS**k / math.sqrt(math.factorial(k)) for k in range(channels))
    worst = ((1 + RADIUS) * inverse) ** 2 * math.exp(2 * STRETCH_BOUND)
    for size in (1.0, 30.0, 1e6):
        assert torch.linalg.cond(layer.matrix(size * raw)).max() < worst
    ones = torch.ones(1, channels**2, 1, 1, dtype=torch.float64)
    assert max(torch.linalg.cond(layer.matrix(size * ones)).max() for size in (1e6, -1e6)) < worst


@pytest.mark.parametrize("kind", KINDS)
def test_neither_direction_runs_away_in_fp32(kind: type[Transform]) -> None:
    transform, y = kind(12), torch.randn(4, 12, 4, 4)
    context = 1e4 * torch.randn(4, transform.context_channels, 1, 1)
    z, log_det = transform(y, context)
    back, _ = transform.inverse(z, context)
    assert torch.allclose(back, y, atol=1e-3) and log_det.abs().max() <= 12 * 16 * LOG_SCALE_BOUND


def pyramid_of(levels: int, randomised: Randomise) -> tuple[ConditionalPyramid, tuple[Tensor, ...]]:
    torch.manual_seed(3)
    pyramid = randomised(ConditionalPyramid(2, levels, 2, 8))
    context = []
    for i, level in enumerate(pyramid.levels, 1):
        context.append(0.3 * torch.randn(2, sum(level.vector_shares), 1, 1, dtype=torch.float64))
        context += [torch.randn(2, share, 8 >> i, 8 >> i, dtype=torch.float64) for share in level.map_shares]
        assert sum(level.vector_groups) == sum(level.vector_shares)
    return pyramid, tuple(context)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_the_pyramid_is_undone_and_its_log_det_is_the_jacobians(levels: int, randomised: Randomise) -> None:
    pyramid, context = pyramid_of(levels, randomised)
    y = torch.randn(2, 2, 8, 8, dtype=torch.float64)
    eps, log_det = pyramid(y, context)
    assert [tuple(e.shape[1:]) for e in eps] == pyramid.latent_shapes(8, 8)
    back, log_det_back = pyramid.inverse(eps, context)
    assert (back - y).abs().max() < 1e-9 and (log_det + log_det_back).abs().max() < 1e-9
    for i in range(2):
        own = tuple(entry[i : i + 1] for entry in context)
        flat = lambda v, own=own: torch.cat([e.flatten() for e in pyramid(v, own)[0]])  # noqa: E731
        jacobian = torch.autograd.functional.jacobian(flat, y[i : i + 1]).flatten(1)
        assert log_det[i].item() == pytest.approx(torch.linalg.slogdet(jacobian).logabsdet.item(), abs=1e-8)


def test_every_entry_of_the_pyramids_context_matters(randomised: Randomise) -> None:
    pyramid, context = pyramid_of(2, randomised)
    context = tuple(entry.requires_grad_() for entry in context)
    eps, log_det = pyramid(torch.randn(2, 2, 8, 8, dtype=torch.float64), context)
    gradients = torch.autograd.grad(sum(e.pow(4).sum() for e in eps) + log_det.sum(), context)
    seen = [gradient.abs().amax((0, 2, 3)) > 0 for gradient in gradients]
    assert all(entry.any() for entry in seen) and torch.cat(seen).double().mean() > 0.9


def test_a_step_with_a_head_is_the_step_of_what_the_head_makes(randomised: Randomise) -> None:
    step, head = randomised(ConditionalStep(4, 6)), nn.Conv2d(3, 6, 3, padding=1).double()
    y, features = (torch.randn(2, c, 4, 4, dtype=torch.float64) for c in (4, 3))
    vectors, headed = torch.randn(2, 24, 1, 1, dtype=torch.float64), HeadedStep(step, head)
    for found, wanted in ((headed, step), (headed.inverse, step.inverse)):
        for one, other in zip(found(y, vectors, features), wanted(y, vectors, head(features)), strict=True):
            assert torch.equal(one, other)
