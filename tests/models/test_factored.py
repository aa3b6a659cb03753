"""The baseline's masses are probabilities, and what it draws follows them."""

import math

import pytest
import torch
from torch import Tensor

from cflowtool.metrics import bits_per_dim
from cflowtool.models.factored import Factored, FactoredConfig

LOCATIONS = [-50.0, -0.5, 0.0, 0.002, 0.3, 0.5, 0.998, 1.7, 50.0]
LOG_SCALES = [-7.0, -4.0, -1.0]


def factored(**options: object) -> Factored:
    torch.manual_seed(0)
    small = {"trunk_channels": 8, "blocks": 1, "growth": 0}
    return Factored(FactoredConfig(**{**small, **options})).double()


def context_of(location: float, log_scale: float) -> tuple[Tensor]:
    return (torch.tensor([location, log_scale], dtype=torch.float64).view(1, 2, 1, 1),)


def values(levels: int = 256) -> Tensor:
    return ((torch.arange(levels, dtype=torch.float64) + 0.5) / levels).view(-1, 1, 1, 1)


@pytest.mark.parametrize("levels", [2, 256])
@pytest.mark.parametrize("location", LOCATIONS)
@pytest.mark.parametrize("log_scale", LOG_SCALES)
def test_the_masses_of_all_values_of_a_pixel_sum_to_one(location: float, log_scale: float, levels: int) -> None:
    masses = factored(levels=levels).log_prob_given(values(levels), context_of(location, log_scale)).exp() / levels
    assert masses.sum().item() == pytest.approx(1, abs=1e-9) and masses.min() >= 0


@pytest.mark.parametrize("location", LOCATIONS)
@pytest.mark.parametrize("log_scale", LOG_SCALES)
def test_fp32_is_nearly_as_good(location: float, log_scale: float) -> None:
    model, (context,) = factored(), context_of(location, log_scale)
    rough = model.log_prob_given(values().float(), (context.float(),)).double()
    exact = model.log_prob_given(values(), (context,))
    assert torch.allclose(rough, exact, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("location", LOCATIONS)
@pytest.mark.parametrize("log_scale", LOG_SCALES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_far_outliers_have_finite_scores_and_gradients(location: float, log_scale: float, dtype: torch.dtype) -> None:
    context = context_of(location, log_scale)[0].to(dtype).requires_grad_()
    log_prob = factored().log_prob_given(values().to(dtype), (context,))
    (gradient,) = torch.autograd.grad(log_prob.sum(), context)
    assert torch.isfinite(log_prob).all() and torch.isfinite(gradient).all()
    if abs(location) > 1:
        assert gradient[0, 0].item() * location < 0


@pytest.mark.parametrize("location", [0.2, 0.7])
@pytest.mark.parametrize("log_scale", LOG_SCALES)
def test_what_is_drawn_has_the_quantiles_of_the_logistic(location: float, log_scale: float) -> None:
    shares = torch.linspace(0.001, 0.999, 99, dtype=torch.float64)
    eps = torch.special.ndtri(shares).view(1, -1, 1, 1, 1)
    drawn = factored().decode((eps,), context_of(location, log_scale)).y.flatten()
    assert torch.allclose(drawn, location + math.exp(log_scale) * torch.logit(shares), rtol=1e-9)


@pytest.mark.parametrize("log_scale", [-5.0, -3.0])
def test_what_is_drawn_falls_into_each_value_as_often_as_its_mass_says(log_scale: float) -> None:
    model, context = factored(levels=8), context_of(0.4, log_scale)
    eps = torch.randn(1, 40_000, 1, 1, 1, generator=torch.Generator().manual_seed(0)).double()
    cells = (model.decode((eps,), context).y.flatten() * 8).floor().clamp(0, 7).long()
    masses = model.log_prob_given(values(8), context).exp() / 8
    assert (torch.bincount(cells, minlength=8) / len(cells) - masses).abs().max() < 0.01


def test_extreme_noise_is_drawn_as_a_number() -> None:
    eps = torch.tensor([-9.0, 9.0]).view(1, 2, 1, 1, 1)
    draws = factored().float().decode((eps,), (context_of(0.5, -1.0)[0].float(),))
    assert torch.isfinite(draws.y).all() and torch.isfinite(draws.log_prob).all() and draws.y[0, 0] < draws.y[0, 1]


def test_the_loss_is_the_bits_of_the_discrete_image() -> None:
    model, x, y = factored(), torch.rand(2, 3, 4, 4).double(), torch.randint(0, 256, (2, 3, 8, 8)).double()
    y = (y + 0.5) / 256
    bits = -model.log_prob(y, x) / math.log(2) + y[0].numel() * 8
    assert torch.allclose(model.loss(y, x, torch.Generator()) * y[0].numel(), bits)
    assert torch.equal(model.loss(y, x, torch.Generator()), bits_per_dim(model.log_prob(y, x), y[0].numel()))
