"""The flow of binary targets is a density, its bound a bound, and the baseline is equation 9."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cflowtool.models.binary import (
    BinaryCNF,
    BinaryCNFConfig,
    FactoredBinary,
    FactoredBinaryConfig,
    weighted_cross_entropy,
)
from cflowtool.recipes import build, load

Randomise = Callable[..., nn.Module]
SMALL = {"encoder_channels": 4, "norm": "none"}
FLOW = {**SMALL, "steps": 2, "width": 8, "dequantizer_steps": 2, "dequantizer_width": 8}


def cnf(**options: object) -> BinaryCNF:
    torch.manual_seed(0)
    return BinaryCNF(BinaryCNFConfig(**{**FLOW, **options})).double()


def factored(**options: object) -> FactoredBinary:
    torch.manual_seed(0)
    return FactoredBinary(FactoredBinaryConfig(**{**SMALL, **options})).double()


def image(side: int = 8, batch: int = 1) -> Tensor:
    return torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(1)).double()


def mask(side: int = 8, batch: int = 1) -> Tensor:
    return (image(side, batch)[:, :1] > 0.6).double()


def flattened(latent: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([eps.flatten() for eps in latent])


@pytest.mark.parametrize("options", [{}, {"mean_weight": 1.0, "encoder": "unet", "norm": "instance"}, {"levels": 1}])
def test_the_log_prob_is_the_change_of_variables_of_the_whole_model(
    options: dict[str, object], randomised: Randomise
) -> None:
    model, x = randomised(cnf(**options)), image()
    v, context = 3 * torch.randn(1, 1, 8, 8).double(), model.encode(x)

    def noise_of(values: Tensor) -> Tensor:
        return flattened(model.pyramid(values - context[0][:, :1], context[1:])[0])

    log_det = torch.linalg.slogdet(torch.autograd.functional.jacobian(noise_of, v).flatten(1)).logabsdet
    wanted = torch.distributions.Normal(0.0, 1.0).log_prob(noise_of(v)).sum() + log_det
    assert model.log_prob(v, x).item() == pytest.approx(wanted.item(), abs=1e-8)


@pytest.mark.parametrize("norm", ["instance", "group", "none"])
@pytest.mark.parametrize("encoder", ["vgg", "unet"])
def test_decoding_is_undone_exactly_whatever_normalizes_the_encoder(
    encoder: str, norm: str, randomised: Randomise
) -> None:
    model, x = randomised(cnf(encoder=encoder, norm=norm, mean_weight=1.0), 1.0), image(16, 2)
    eps = tuple(e[None].double().expand(2, *(-1,) * 4) for e in model.noise((16, 16), [0, 1], 1.0, 0))
    context = model.encode(x)
    v = model.decode(eps, context).y[:, 1]
    again, _ = model.pyramid(v - context[0][:, :1], context[1:])
    assert max((a - e[:, 1]).abs().max() for a, e in zip(again, eps, strict=True)) < 1e-9


def test_the_flow_itself_preserves_volume_and_the_priors_alone_scale(randomised: Randomise) -> None:
    model = randomised(cnf(), 3.0)
    for level, flow in enumerate(model.pyramid.flows):
        y = torch.randn(1, 4 << level, 2, 2).double()
        context = torch.randn(1, flow.context_channels, 2, 2).double()
        jacobian = torch.autograd.functional.jacobian(lambda v, f=flow, c=context: f(v, c)[0], y)
        size = y.numel()
        assert torch.linalg.slogdet(jacobian.reshape(size, size)).logabsdet.abs() < 1e-9
        assert not flow(y, context)[1].any()


@pytest.fixture
def toy(randomised: Randomise) -> BinaryCNF:
    """A model of 2 x 2 pixels whose q is wider than its p, so that no mass is where q never draws."""
    model = randomised(cnf(levels=1, mean_weight=1.0), 0.1)
    with torch.no_grad():
        model.dequantizer.flow.transforms[-1].transforms["0"].actnorm.log_scale += 1.2
    return model


def draw(model: BinaryCNF, x: Tensor, count: int) -> Tensor:
    """Samples of one image, (count, 1, H, W)."""
    generator = torch.Generator().manual_seed(9)
    shapes = model.latent_shapes(*x.shape[-2:])
    eps = tuple(torch.randn(1, count, *shape, generator=generator).double() for shape in shapes)
    return model.decode(eps, model.encode(x)).y[0]


def log_weights(model: BinaryCNF, x: Tensor, draws: int) -> Tensor:
    """log p(v) - log q(v|y, x) of draws of v for each of the 16 masks of 2 x 2 pixels, (16, draws)."""
    masks = torch.tensor(list(itertools.product((0.0, 1.0), repeat=4))).double().view(16, 1, 2, 2)
    context, generator = model.encode(x), torch.Generator().manual_seed(3)
    return torch.stack([model.log_mass_given(m.expand(draws, 1, 2, 2), context, generator) for m in masks])


@torch.no_grad()
def test_the_probabilities_of_all_masks_sum_to_one_and_each_is_above_its_bound(toy: BinaryCNF) -> None:
    weights = log_weights(toy, image(2), 10_000)
    masses = weights.exp().mean(1)
    error = (weights.exp().var(1) / weights.shape[1]).sum().sqrt()
    assert error < 0.01 and masses.sum().item() == pytest.approx(1, abs=3 * error.item())
    assert masses.max() > 1.4 * masses.min() and (weights.mean(1) < masses.log()).all()


@torch.no_grad()
def test_masks_are_drawn_as_often_as_the_dequantizer_says_they_are_probable(toy: BinaryCNF) -> None:
    x = image(2)
    masses = log_weights(toy, x, 10_000).exp().mean(1)
    drawn = (draw(toy, x, 40_000).flatten(1) > 0.5).long() @ torch.tensor([8, 4, 2, 1])
    assert (torch.bincount(drawn, minlength=16) / 40_000 - masses).abs().max() < 0.008


@torch.no_grad()
def test_without_a_generator_a_mass_is_one_number_whatever_stands_beside_it(randomised: Randomise) -> None:
    model, x, y = randomised(cnf()), image(8, 3), mask(8, 3)
    together, midpoints = (model.log_mass_given(values, model.encode(x)) for values in (y, 0.25 + 0.5 * y))
    alone = [model.log_mass_given(y[i : i + 1], model.encode(x[i : i + 1])) for i in range(3)]
    assert torch.equal(together, midpoints) and torch.allclose(together, torch.cat(alone), rtol=1e-12)
    drawn = [model.log_mass_given(y, model.encode(x), torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.allclose(drawn[0], drawn[2])


def test_the_head_learns_from_its_cross_entropy_and_never_from_the_likelihood(randomised: Randomise) -> None:
    model, x, y = randomised(cnf(mean_weight=3.0, beta=0.3)), image(8, 2), mask(8, 2)
    whole, warm = (loss(y, x, torch.Generator().manual_seed(2)) for loss in (model.loss, model.warm_loss))
    head, first = model.head.heads[0].conv.weight, model.encoder.first[2].weight
    both = [torch.autograd.grad(loss.sum(), head, retain_graph=True)[0] for loss in (whole, warm)]
    assert torch.allclose(*both, rtol=1e-9) and both[0].any()
    likelihood = torch.autograd.grad((whole - warm).sum(), [first, *model.dequantizer.parameters()])
    assert all(gradient.any() for gradient in likelihood)
    bits = -model.log_mass_given(y, model.encode(x), torch.Generator().manual_seed(2)) / (64 * math.log(2))
    assert torch.allclose(whole - warm, bits, rtol=1e-9)


def test_without_a_weight_there_is_no_head_and_the_warm_loss_is_the_loss(randomised: Randomise) -> None:
    model, x, y = randomised(cnf()), image(8, 2), mask(8, 2)
    warm, full = (loss(y, x, torch.Generator().manual_seed(2)) for loss in (model.warm_loss, model.loss))
    assert model.head is None and torch.equal(warm, full) and (model.encode(x)[0][:, 0] == 0.5).all()


@torch.no_grad()
def test_an_untrained_flow_around_a_head_has_nearly_the_heads_probabilities() -> None:
    model, x = cnf(mean_weight=1.0), image()
    model.head.heads[0].conv.weight.normal_(0, 1.5, generator=torch.Generator().manual_seed(0))
    logit = model.head(model.encoder(x))
    assert logit.min() < -1 and logit.max() > 1
    drawn = (draw(model, x, 4000) > 0.5).double().mean(0)
    assert (drawn - logit.sigmoid()).abs().max() < 0.02 + 4 * 0.5 / 4000**0.5
    assert torch.equal(model.probability(x, 1, 0.0), (logit > 0).double())


@torch.no_grad()
def test_the_probability_is_the_mean_of_the_thresholded_samples(randomised: Randomise) -> None:
    model, x = randomised(cnf()), image(8, 2)
    wanted = (model.sample(x, 7, 0.8, 5).y > 0.5).double().mean(1)
    found = model.probability(x, 7, 0.8, 5)
    assert torch.allclose(found, wanted) and 0 < found.mean() < 1


LOGITS = torch.linspace(-6, 6, 13).double().view(1, 1, 1, 13)


@pytest.mark.parametrize("beta", [0.1, 0.5, 0.9])
def test_the_cross_entropy_and_the_probability_are_equation_9s(beta: float) -> None:
    model, p = factored(beta=beta), LOGITS.sigmoid()
    y = torch.tensor([0.0, 1.0]).repeat(7)[:13].double().view(1, 1, 1, 13)
    numerator = p ** (beta * y) * (1 - p) ** ((1 - beta) * (1 - y))
    assert torch.allclose(weighted_cross_entropy(LOGITS, y, beta), -numerator.log())
    wanted = (numerator / (p**beta + (1 - p) ** (1 - beta))).log().sum()
    assert model.log_prob_given(y, (LOGITS,)).item() == pytest.approx(wanted.item())
    assert torch.equal(model.log_mass_given(y, (LOGITS,)), model.log_prob_given(y, (LOGITS,)))


@pytest.mark.parametrize("beta", [None, 0.1, 0.9])
def test_the_two_values_of_a_pixel_have_probabilities_that_sum_to_one(beta: float | None) -> None:
    model, logits = factored(beta=beta), 3 * LOGITS.view(13, 1, 1, 1)
    masses = [model.log_prob_given(torch.full_like(logits, value), (logits,)).exp() for value in (0.0, 1.0)]
    assert torch.allclose(masses[0] + masses[1], torch.ones(13).double(), rtol=1e-12)
    assert (masses[1].diff() > 0).all() and (beta is not None or torch.allclose(masses[1], logits.sigmoid().flatten()))


@pytest.mark.parametrize(("beta", "cheaper"), [(0.1, "missed"), (0.9, "false")])
def test_beta_is_the_weight_of_the_vessels(beta: float, cheaper: str) -> None:
    """As equation 9 is printed, its 10 % makes a missed vessel cheap: what balances the classes is 90 %."""
    logit = torch.zeros(1)
    cost = {
        "missed": weighted_cross_entropy(logit, logit + 1, beta),
        "false": weighted_cross_entropy(logit, logit, beta),
    }
    dearer = {"missed": "false", "false": "missed"}[cheaper]
    assert cost[dearer].item() == pytest.approx(9 * cost[cheaper].item())


def test_the_loss_is_the_numerator_in_bits_and_without_beta_the_bits_of_the_mask(randomised: Randomise) -> None:
    x, y = image(8, 2), mask(8, 2)
    plain, weighted = (randomised(factored(beta=beta)) for beta in (None, 0.1))
    bits = -plain.log_mass_given(y, plain.encode(x)) / (64 * math.log(2))
    assert torch.allclose(plain.loss(y, x, torch.Generator()), bits, rtol=1e-12)
    numerator = weighted_cross_entropy(weighted.encode(x)[0], y, 0.1).mean((1, 2, 3)) / math.log(2)
    assert torch.allclose(weighted.loss(y, x, torch.Generator()), numerator, rtol=1e-12)


def test_what_is_drawn_has_the_probability_of_the_soft_image() -> None:
    shares = torch.linspace(0.001, 0.999, 999).double()
    eps = torch.special.ndtri(shares).view(1, -1, 1, 1, 1)
    drawn = factored().decode((eps,), (LOGITS,)).y[0, :, 0, 0]
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert (drawn.mean(0) - LOGITS.sigmoid().flatten()).abs().max() < 0.0015
    assert torch.equal(factored().decode((0 * eps[:, :1],), (LOGITS,)).y.flatten(), (LOGITS > 0).double().flatten())


def test_the_soft_image_is_what_the_mean_of_samples_tends_to(randomised: Randomise) -> None:
    model, x = randomised(factored()), image(8, 2)
    mean = model.sample(x, 2000, 1.0, 0).y.mean(1)
    assert (mean - model.probability(x)).abs().max() < 4.5 * 0.5 / 2000**0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_logits_have_finite_scores_and_gradients(dtype: torch.dtype) -> None:
    for beta, value in itertools.product((None, 0.1), (0.0, 1.0)):
        logit = torch.tensor([-300.0, 300.0], dtype=dtype).view(2, 1, 1, 1).requires_grad_()
        y = torch.full_like(logit, value)
        score = factored(beta=beta).log_prob_given(y, (logit,)) - weighted_cross_entropy(logit, y, beta).sum()
        assert torch.isfinite(score).all() and torch.isfinite(torch.autograd.grad(score.sum(), logit)[0]).all()
    draws = factored().to(dtype).decode((torch.tensor([-9.0, 9.0], dtype=dtype).view(2, 1, 1, 1, 1),), (logit,))
    assert draws.y.flatten().tolist() == [0.0, 1.0]


@pytest.mark.parametrize("wrong", [{"scale": 2}, {"depth": 4}, {"beta": 0.0}, {"beta": 1.0}, {"beta": -0.5}])
def test_a_config_that_means_nothing_is_refused(wrong: dict[str, float]) -> None:
    for kind in (BinaryCNFConfig, FactoredBinaryConfig):
        with pytest.raises(ValueError, match=r"scale must be 1|is for the encoder unet|between 0 and 1"):
            kind(**wrong)


def conv(inputs: int, outputs: int, side: int, bias: bool = True) -> int:
    return inputs * outputs * side**2 + bias * outputs


def coupling_net(inputs: int, outputs: int, width: int) -> int:
    return conv(inputs, width, 3, bias=False) + conv(width, width, 1) + conv(width, outputs, 3)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


VGG_PARAMETERS = sum(conv(a, b, 3) for a, b in ((3, 64), (64, 128), (128, 128), (128, 256), (256, 256)))


def test_the_papers_flow_has_its_levels_steps_and_conditioning() -> None:
    with torch.device("meta"):
        model = build(load("binary-cnf-paper"))
        context = model.encode(torch.empty(1, 3, 1024, 1024))
    assert isinstance(model, BinaryCNF) and model.head is None and model.variational and model.levels == 2
    assert model.latent_shapes(1024, 1024) == [(2, 512, 512), (8, 256, 256)]
    assert [entry.shape[-1] for entry in context] == [1024, 512, 256]
    steps = [8 * (c * c + c + coupling_net(c // 2, c // 2, 64)) for c in (4, 8)]
    assert count(model.pyramid) == sum(steps) + coupling_net(2, 2 * 2, 64)
    shares = [8 * 64 + 64, 8 * 64 + 2 * 8]
    assert [entry.shape[1] for entry in context] == [1 + 64, *shares]
    assert count(model.project) == conv(128, shares[0], 3) + conv(256, shares[1], 3)
    assert count(model.encoder) == VGG_PARAMETERS


def test_the_papers_baseline_is_the_same_encoder_with_one_convolution_a_resolution() -> None:
    with torch.device("meta"):
        model = build(load("factored-binary-paper"))
    sides = sum(conv(64 << level, 4**level, 3) for level in range(3))
    assert isinstance(model, FactoredBinary) and count(model) == VGG_PARAMETERS + sides and model.beta == 0.1


@pytest.mark.parametrize("name", ["binary-cnf-paper", "factored-binary-paper"])
def test_the_papers_training_is_2000_epochs_of_20_padded_images_in_pairs(name: str) -> None:
    recipe = load(name)
    train, images, epochs = recipe.train, 20, 2000
    assert (train.batch, train.crop, train.learning_rate) == (2, 1024, 1e-3) and recipe.task.options["augment"]
    assert train.steps * train.batch == images * epochs and train.warm_up == train.decay == train.ema == 0


@pytest.mark.parametrize("name", ["segment-vessels-cnf", "segment-vessels-factored"])
def test_the_compact_recipes_see_so_far_and_no_further_and_so_can_be_tiled(name: str) -> None:
    with torch.device("meta"):
        model = build(load(name))
    assert count(model) < 1_500_000 and model.reach < 256
