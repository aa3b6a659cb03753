"""Maps made from x for a whole image: where they start, how far they can go, and the step of them."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from cflowtool.flows.conditional import (
    LOG_SCALE_BOUND,
    RADIUS,
    STRETCH_BOUND,
    Conditional1x1,
    ConditionalActNorm,
    ConditionalStep,
    maps_of,
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


@pytest.mark.parametrize("batch", [1, 3])
def test_all_steps_maps_at_once_are_each_steps_normalization_and_convolution(batch: int) -> None:
    torch.manual_seed(0)
    steps = [ConditionalStep(6, 8).double() for _ in range(3)]
    y = torch.randn(3, 6, 4, 5, dtype=torch.float64)
    vectors = torch.randn(batch, 3 * (12 + 36), 1, 1, dtype=torch.float64)
    matrices, shifts, log_dets = maps_of(torch.stack([step.rotation for step in steps]), vectors)
    wanted = [step.affine(y, part) for step, part in zip(steps, vectors.chunk(3, 1), strict=True)]
    for k, (z, _) in enumerate(wanted):
        found = torch.einsum("bij,bjhw->bihw", matrices[:, k].expand(3, 6, 6), y) + shifts[:, k].mT[..., None]
        assert torch.allclose(found, z, rtol=0, atol=1e-12)
    total = 20 * log_dets.flatten().expand(3)
    assert torch.allclose(total, sum(log_det for _, log_det in wanted), rtol=0, atol=1e-10)


@pytest.mark.parametrize("batch", [1, 2])
def test_a_step_is_undone_and_one_image_serves_every_sample(batch: int, randomised: Randomise) -> None:
    step = randomised(ConditionalStep(4, 6))
    y, maps = (torch.randn(2, c, 4, 4, dtype=torch.float64) for c in (4, 6))
    matrices, shifts, _ = maps_of(step.rotation[None], torch.randn(batch, 24, 1, 1, dtype=torch.float64))
    told = matrices[:, 0], shifts[:, 0]
    z, log_det = step(y, *told, maps)
    back, log_det_back = step.inverse(z, *told, maps)
    assert torch.allclose(back, y, rtol=0, atol=1e-10) and torch.allclose(log_det, -log_det_back, rtol=0, atol=1e-10)
    for one, other in zip(step(y[1:], *(part[-1:] for part in told), maps[1:]), (z[1:], log_det[1:]), strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-12)
