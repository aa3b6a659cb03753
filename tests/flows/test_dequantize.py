"""Dequantization spreads every value evenly over its own cell."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cflowtool.flows.dequantize import VariationalDequantizer, standard_normal, uniform_dequantize
from cflowtool.flows.gaussian import standard_normal_log_prob


def midpoints(levels: int) -> Tensor:
    return ((torch.arange(levels, dtype=torch.float64) + 0.5) / levels).repeat(2000, 1)


@pytest.mark.parametrize("levels", [2, 256])
def test_every_value_stays_in_its_cell(levels: int) -> None:
    y = uniform_dequantize(midpoints(levels), levels, torch.Generator().manual_seed(0))
    assert torch.equal((y * levels).floor(), torch.arange(levels).expand_as(y).double())


def test_the_noise_is_uniform() -> None:
    y = midpoints(16)
    noise = (uniform_dequantize(y, 16, torch.Generator().manual_seed(0)) - y) * 16
    for order, moment in ((1, 0), (2, 1 / 12), (3, 0), (4, 1 / 80)):
        assert (noise**order).mean().item() == pytest.approx(moment, abs=0.01)


def test_the_noise_is_the_generators() -> None:
    y = midpoints(4).float()
    first, same, other = (uniform_dequantize(y, 4, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, same) and not torch.equal(first, other) and first.dtype == torch.float32


def test_without_a_generator_it_is_torchs_own() -> None:
    y = midpoints(4)
    torch.manual_seed(5)
    first = uniform_dequantize(y, 4)
    assert not torch.equal(first, uniform_dequantize(y, 4))
    torch.manual_seed(5)
    assert torch.equal(first, uniform_dequantize(y, 4))


@pytest.fixture(params=["grey levels", "binary"])
def learned(request: pytest.FixtureRequest, randomised: Callable[..., nn.Module]) -> VariationalDequantizer:
    torch.manual_seed(0)
    binary = request.param == "binary"
    made = randomised(VariationalDequantizer(1, 2, steps=2, width=4, binary=binary, levels=2 if binary else 4), 0.5)
    assert isinstance(made, VariationalDequantizer)
    return made


def discrete(dequantizer: VariationalDequantizer, batch: int) -> Tensor:
    values = torch.tensor([[0, 1], [1, 0]], dtype=torch.float64)
    values = values if dequantizer.binary else (values + 1.5) / dequantizer.levels
    return values.expand(batch, 1, 2, 2)


def drawn(dequantizer: VariationalDequantizer, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    y, generator = discrete(dequantizer, batch), torch.Generator().manual_seed(3)
    features = torch.linspace(0, 1, 8, dtype=torch.float64).view(1, 2, 2, 2)
    eps = torch.randn(batch, 1, 2, 2, generator=generator, dtype=torch.float64)
    return y, *dequantizer(y, eps, dequantizer.condition(features))


@torch.no_grad()
def test_a_learned_cell_is_never_left(learned: VariationalDequantizer) -> None:
    y, v, log_q = drawn(learned, 5000)
    kept = (v > 0.5) == (y == 1) if learned.binary else (v * learned.levels).floor() == (y * learned.levels).floor()
    assert kept.all() and log_q.shape == (5000,) and v.std(0).min() > 1e-3


@torch.no_grad()
def test_a_learned_density_integrates_to_one(learned: VariationalDequantizer) -> None:
    # The mean of 1 / q over the draws that fall in a box is the box's volume, whatever box of the support.
    _, v, log_q = drawn(learned, 400_000)
    low, high = v.quantile(0.3, 0, keepdim=True), v.quantile(0.7, 0, keepdim=True)
    inside = ((v > low) & (v < high)).flatten(1).all(1)
    found = torch.where(inside, (-log_q).exp(), 0).mean()
    assert found.item() == pytest.approx((high - low).prod().item(), rel=0.03)


def test_its_log_density_is_that_of_the_jacobian(learned: VariationalDequantizer) -> None:
    y, eps = discrete(learned, 1), torch.randn(1, 1, 2, 2, dtype=torch.float64)
    condition = learned.condition(torch.rand(1, 2, 2, 2, dtype=torch.float64))
    jacobian = torch.autograd.functional.jacobian(lambda e: learned(y, e, condition)[0], eps).reshape(4, 4)
    wanted = standard_normal_log_prob(eps) - torch.linalg.slogdet(jacobian).logabsdet
    assert learned(y, eps, condition)[1].item() == pytest.approx(wanted.item(), abs=1e-9)


def test_it_starts_uniform_over_the_cell() -> None:
    made = VariationalDequantizer(1, levels=256).double().eval()
    y, generator = midpoints(256)[:1, :64].view(1, 1, 8, 8), torch.Generator().manual_seed(0)
    eps = torch.randn(1, 1, 8, 8, generator=generator, dtype=torch.float64)
    _, log_q = made(y, eps, made.condition(y[:, :0]))
    assert log_q.item() == pytest.approx(64 * math.log(256), abs=1e-6)


def test_what_is_learned_depends_on_the_image_and_on_x(learned: VariationalDequantizer) -> None:
    y, eps = discrete(learned, 1), torch.randn(1, 1, 2, 2, dtype=torch.float64)
    features = torch.rand(1, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    v, log_q = learned(y, eps, learned.condition(features))
    assert torch.autograd.grad(log_q.sum(), features)[0].abs().max() > 0
    other = discrete(learned, 1).flip(3)
    assert ((learned(other, eps, learned.condition(features))[0] - other) - (v - y)).abs().max() > 1e-6


def test_noise_without_a_generator_is_always_the_same() -> None:
    like = torch.empty(2, 1, 4, 4, dtype=torch.float64)
    assert torch.equal(standard_normal(like, None), standard_normal(like, None))
    generator = torch.Generator().manual_seed(1)
    assert not torch.equal(standard_normal(like, generator), standard_normal(like, generator))
