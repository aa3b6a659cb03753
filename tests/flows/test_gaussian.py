"""The noise is the same whatever part of it is asked for, and what the transforms make of it are densities."""

import math
from collections.abc import Callable
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cflowtool.flows.coupling import AffineCoupling
from cflowtool.flows.gaussian import ConditionalPrior, ConditionalSplitPrior, NoiseField, standard_normal_log_prob
from cflowtool.flows.linear import Transition
from cflowtool.flows.pyramid import Chain

WIDTH = 8
TOYS: dict[str, Callable[[], Chain]] = {
    "1-D prior": lambda: Chain([Transition(1), ConditionalPrior(1)]),
    "2-D coupling": lambda: Chain([Transition(2), AffineCoupling(2, WIDTH), ConditionalPrior(2)]),
    "2-D split prior": lambda: Chain([Transition(2), ConditionalSplitPrior(2, WIDTH), ConditionalPrior(2)]),
    "2-D twice": lambda: Chain([Transition(2), AffineCoupling(2, WIDTH), Transition(2), AffineCoupling(2, WIDTH)]),
}


CORNER, SIDE, MARGIN = st.integers(-90, 90), st.integers(1, 80), st.tuples(*[st.integers(0, 70)] * 4)


@pytest.mark.parametrize("channels", [2, 40, 600])
@given(CORNER, CORNER, SIDE, SIDE, MARGIN)
@settings(max_examples=15, deadline=None, derandomize=True)
def test_any_rectangle_is_the_crop_of_a_larger_one(
    channels: int, top: int, left: int, high: int, wide: int, margin: tuple[int, int, int, int]
) -> None:
    above, before, below, after = margin
    field = NoiseField(3)
    part = field.draw(1, 0, channels, top, left, high, wide)
    whole = field.draw(1, 0, channels, top - above, left - before, above + high + below, before + wide + after)
    assert part.shape == (channels, high, wide)
    assert torch.equal(part, whole[:, above : above + high, before : before + wide])


def test_the_noise_is_standard_normal() -> None:
    values = NoiseField(0).draw(0, 0, 8, 5, 9, 200, 200).flatten().double()
    for order, moment in ((1, 0), (2, 1), (3, 0), (4, 3)):
        assert (values**order).mean().item() == pytest.approx(moment, abs=0.05)


def test_seed_sample_level_and_place_each_give_noise_of_their_own() -> None:
    pieces = [
        NoiseField(seed).draw(sample, level, 4, top, left, 64, 64).flatten()
        for seed, sample, level, top, left in [
            (0, 0, 0, 0, 0), (1, 0, 0, 0, 0), (0, 1, 0, 0, 0), (0, 0, 1, 0, 0), (0, 0, 0, 64, 0), (0, 0, 0, 0, 64),
            (0, 0, 0, 1, 0), (0, 11, 1, 0, 0), (0, 1, 11, 0, 0),
        ]
    ]  # fmt: skip
    assert all(torch.corrcoef(torch.stack(pair))[0, 1].abs() < 0.04 for pair in combinations(pieces, 2))


def test_changed_noise_is_not_drawn_again() -> None:
    first = NoiseField(0).draw(0, 0, 3, 0, 0, 4, 4)
    wanted = first.clone()
    first.zero_()
    assert torch.equal(NoiseField(0).draw(0, 0, 3, 0, 0, 4, 4), wanted)


def test_channels_have_noise_of_their_own() -> None:
    assert (torch.corrcoef(NoiseField(0).draw(0, 0, 6, 0, 0, 64, 64).flatten(1)) - torch.eye(6)).abs().max() < 0.08


def test_one_sample_equals_itself_among_ten() -> None:
    shapes, corners = [(3, 6, 7), (5, 3, 4)], [(60, 2), (30, 1)]
    ten, one = (NoiseField(9).latent(samples, shapes, corners) for samples in (range(10), [7]))
    assert [tuple(level.shape) for level in ten] == [(10, *shape) for shape in shapes]
    assert all(torch.equal(some[7:8], alone) for some, alone in zip(ten, one, strict=True))


def test_drawing_leaves_torchs_own_randomness_alone() -> None:
    before = torch.get_rng_state()
    NoiseField(1).draw(0, 0, 1, 0, 0, 8, 8)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_base_density_is_the_normal() -> None:
    eps = torch.randn(3, 2, 4, 5, dtype=torch.float64)
    wanted = torch.distributions.Normal(0.0, 1.0).log_prob(eps).flatten(1).sum(1)
    assert torch.allclose(standard_normal_log_prob(eps), wanted, rtol=0, atol=1e-9)


def grid_of(samples: Tensor, count: int) -> tuple[Tensor, float]:
    """A grid (count^D, D, 1, 1) well beyond the samples (B, D), and the volume of its cell."""
    low, high = samples.amin(0), samples.amax(0)
    low, high = low - 0.7 * (high - low), high + 0.7 * (high - low)
    axes = [torch.linspace(a, b, count, dtype=torch.float64) for a, b in zip(low.tolist(), high.tolist(), strict=True)]
    return torch.cartesian_prod(*axes).view(-1, len(axes), 1, 1), math.prod(float(axis[1] - axis[0]) for axis in axes)


@pytest.mark.parametrize("name", TOYS)
@torch.no_grad()
def test_densities_integrate_to_one(name: str, randomised: Callable[..., nn.Module]) -> None:
    torch.manual_seed(2)
    toy = randomised(TOYS[name]())
    context = torch.randn(1, toy.context_channels, 1, 1, dtype=torch.float64)
    dimensions = int(name[0])
    samples, _ = toy.inverse(torch.randn(2000, dimensions, 1, 1, dtype=torch.float64), context)
    grid, cell = grid_of(samples.flatten(1), 400)
    eps, log_det = toy(grid, context)
    assert ((standard_normal_log_prob(eps) + log_det).exp().sum() * cell).item() == pytest.approx(1, abs=1e-3)
