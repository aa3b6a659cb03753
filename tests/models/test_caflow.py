"""CAFLOW's own laws: which latent depends on which, sharing, the two factorizations, the objective."""

import math
from collections.abc import Callable
from dataclasses import asdict

import pytest
import torch
from torch import Tensor, nn

from cflowtool import recipes
from cflowtool.flows.autoregressive import ConditionalBlock
from cflowtool.flows.gaussian import standard_normal_log_prob
from cflowtool.metrics.likelihood import bits_per_dim
from cflowtool.models.caflow import CAFLOW, CAFLOWConfig

SMALL = {"scale": 2, "scales": 3, "condition_steps": 1, "target_steps": 1, "steps": 1, "width": 8}
Randomise = Callable[..., nn.Module]


def build(randomise: Randomise, **options: object) -> CAFLOW:
    torch.manual_seed(0)
    model = randomise(CAFLOW(CAFLOWConfig(**{**SMALL, "conditional_width": 4, **options})), 0.2)
    assert isinstance(model, CAFLOW)
    return model


def images(model: CAFLOW, batch: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(batch, 3, 8, 16, generator=generator, dtype=torch.float64)
    return x, torch.rand(batch, 3, 16, 32, generator=generator, dtype=torch.float64)


def components(model: CAFLOW, latent: tuple[Tensor, ...], d: tuple[Tensor, ...], full: Tensor) -> Tensor:
    """Return log P(l_i | .) of every component, the finest first."""
    known = model._of(model._known(full, d))
    return torch.cat([model.component_log_prob(own, latent, part) for own, part in enumerate(known)])


@pytest.mark.parametrize("factorization", ["autoregressive", "dual-glow"])
@pytest.mark.parametrize("changed", ["latent", "condition"])
@torch.no_grad()
def test_a_component_depends_on_its_own_scale_and_the_coarser_ones_alone(
    randomised: Randomise, factorization: str, changed: str
) -> None:
    model = build(randomised, factorization=factorization)
    x, y = images(model)
    full = model._at_target_size(x)
    latent, d = model.target_flow(y)[0], model.condition_flow(full)[0]
    before = components(model, latent, d, full)
    for j in range(3):
        moved = {"latent": list(latent), "condition": list(d)}
        moved[changed][j] = moved[changed][j] + 0.5
        after = components(model, tuple(moved["latent"]), tuple(moved["condition"]), full)
        differs = ((after - before).abs() > 1e-9).tolist()
        autoregressive = [own <= j for own in range(3)]
        assert differs == (autoregressive if factorization == "autoregressive" else [own == j for own in range(3)])


@torch.no_grad()
def test_the_finest_latent_depends_on_its_own_scale_through_the_condition_alone(randomised: Randomise) -> None:
    block = build(randomised).components[0].blocks[0]
    assert isinstance(block, ConditionalBlock) and not block.drawn and block.net.from_drawn is None


def blocks(model: CAFLOW) -> int:
    return len({id(block) for component in model.components for block in component.blocks})


@pytest.mark.parametrize("scales", [2, 3, 4])
def test_sharing_makes_a_quadratic_number_of_blocks_linear(randomised: Randomise, scales: int) -> None:
    assert blocks(build(randomised, scales=scales)) == scales * (scales + 1) // 2
    assert blocks(build(randomised, scales=scales, shared=True)) == 2 * scales - 1
    assert blocks(build(randomised, scales=scales, factorization="dual-glow")) == scales


@torch.no_grad()
def test_what_is_shared_is_the_same_block_at_every_finer_component(randomised: Randomise) -> None:
    for shared in (True, False):
        first, second = (list(component.blocks) for component in list(build(randomised, shared=shared).components)[:2])
        assert (first[-1] is second[-1]) == shared and first[1] is not second[0]


@torch.no_grad()
def test_equation_9_term_by_term(randomised: Randomise) -> None:
    model = build(randomised, dequantization="uniform")
    x, y = images(model, 2)
    context = model.encode(x)
    latent, log_det = model.target_flow(y - context[0])
    total = log_det
    for own, known in enumerate(model._of(context)):
        component, z = model.components[own], latent[own]
        lower = latent[own : own + len(known)]
        for k, (block, part, low) in enumerate(zip(component.blocks, known, lower, strict=True)):
            z, change = block(z, block.context(part, low))
            total = total + change
            if k < len(known) - 1:
                z, split = z.chunk(2, 1)
                total = total + standard_normal_log_prob(split)
        total = total + standard_normal_log_prob(z)
    assert torch.allclose(model.log_prob(y, x), total, rtol=1e-12)


def test_the_objective_is_the_conditional_one_plus_lambda_times_that_of_the_condition(randomised: Randomise) -> None:
    losses = []
    for weight in (0.0, 0.5, 1.0):
        model = build(randomised, regularization=weight)
        x, y = images(model, 2)
        losses.append(model.loss(y, x, torch.Generator().manual_seed(0)))
    assert torch.allclose(losses[1], (losses[0] + losses[2]) / 2, rtol=1e-12) and not torch.equal(losses[0], losses[2])
    gradient = torch.autograd.grad(losses[2].sum(), model.condition_flow.flows[-1].transforms[0].actnorm.bias)
    assert gradient[0].abs().max() > 0


@torch.no_grad()
def test_a_learned_dequantizer_gives_a_bound_and_the_mass_is_repeatable(randomised: Randomise) -> None:
    model = build(randomised, dequantization="variational")
    x, y = images(model, 2)
    y = ((y * 256).floor() + 0.5) / 256
    context = model.encode(x)
    first, again = (model.log_mass_given(y, context) for _ in range(2))
    other = model.log_mass_given(y, context, torch.Generator().manual_seed(9))
    assert torch.equal(first, again) and not torch.equal(first, other) and first.shape == (2,)
    start = CAFLOW(CAFLOWConfig(**{**SMALL, "conditional_width": 4})).double().eval()
    bits = bits_per_dim(start.log_mass_given(y, start.encode(x)), y[0].numel(), 1)
    uniform = bits_per_dim(start.log_prob_given(y, start.encode(x)), y[0].numel())
    assert torch.allclose(bits, uniform, atol=0.02)


def linear(c: int) -> int:
    """Parameters of an activation normalization and a PLU 1x1 convolution of c channels."""
    return 2 * c + 2 * c * c + c


def coupling(c: int, width: int) -> int:
    kept, changed = c // 2, c - c // 2
    return 9 * kept * width + width * (width + 1) + 2 * changed * (9 * width + 1)


def expected(config: CAFLOWConfig) -> int:
    """The number of parameters, counted from the paper's description of every part."""
    n, count = config.scales, 0
    widths: dict[str, list[int]] = {}
    for name, start, steps in (
        ("d", config.in_channels, config.condition_steps),
        ("l", config.channels, config.target_steps),
    ):
        c, widths[name] = start, []
        for scale in range(n):
            c *= 4
            count += 2 * linear(c) + steps * (linear(c) + coupling(c, config.width) + config.width)
            widths[name].append(c if scale == n - 1 else c // 2)
            c //= 2
    w, k = config.conditional_width, config.steps
    for own in range(n):
        c = widths["l"][own]
        for j in range(own, n):
            inner = 4 * c
            seen = 4 * (widths["d"][j] + (widths["l"][j] if j > own else 0))
            injector = w * (w + 1) + 2 * inner * (9 * w + 1)
            count += 2 * linear(inner) + k * (linear(inner) + coupling(inner, w) + injector)
            count += (9 * seen + 1) * 2 * k * w
            c = inner // 2
    if config.dequantization == "variational":
        c, k = 4 * config.channels, config.dequantization_steps
        injector = w * (w + 1) + 2 * c * (9 * w + 1)
        count += k * (linear(c) + coupling(c, w) + injector) + (9 * (4 * config.in_channels + c) + 1) * 2 * k * w
    return count


@pytest.mark.parametrize("name", [name for name in recipes.names() if name.startswith("caflow") and "paper" in name])
def test_the_papers_settings_have_the_parameters_and_shapes_that_follow_from_them(name: str) -> None:
    recipe = recipes.load(name)
    config = recipes.model_config(recipe)
    with torch.device("meta"):
        model = CAFLOW(config)
    assert sum(p.numel() for p in model.parameters()) == expected(config), asdict(config)
    side = 64 // config.scale
    shapes = model.latent_shapes(side, side)
    assert len(shapes) == 6 and sum(math.prod(shape) for shape in shapes) == config.channels * 64 * 64


TRUNK = {"trunk_channels": 8, "shift": "mean", "mean_weight": 20.0}
WRONG = {"no trunk": {"shift": "mean"}, "no mean": {"trunk_channels": 8, "mean_weight": 1.0}}


@pytest.mark.parametrize("name", WRONG)
def test_a_mean_needs_a_trunk_and_its_weight_a_mean(name: str) -> None:
    with pytest.raises(ValueError, match="trunk_channels" if name == "no trunk" else "mean_weight"):
        CAFLOWConfig(**WRONG[name])


@torch.no_grad()
@pytest.mark.parametrize("dequantization", ["uniform", "variational"])
def test_with_a_trunk_it_is_the_density_of_the_centred_and_scaled_image(
    randomised: Randomise, dequantization: str
) -> None:
    model = build(randomised, dequantization=dequantization, **TRUNK)
    x, y = images(model, 2)
    context = model.encode(x)
    shift, raw = context[0].chunk(2, 1)
    log_scale = -4 + 3 * torch.tanh(raw / 3)
    latent, log_det = model.target_flow((y - shift) / log_scale.exp())
    total = log_det - log_scale.flatten(1).sum(1)
    for own, known in enumerate(model._of(context)):
        total = total + model.component_log_prob(own, latent, known)
    assert torch.allclose(model.log_prob(y, x), total, rtol=1e-10) and raw.std() > 0.01


def test_every_block_sees_the_trunks_features_of_its_resolution(randomised: Randomise) -> None:
    model = build(randomised, **TRUNK)
    x, y = images(model)
    context = model.encode(x)
    latent, _ = model.target_flow(y)
    scales = [narrow.weight for narrow in model.encoder.narrow]
    for own, known in enumerate(model._of(context)):
        log_prob = model.component_log_prob(own, latent, known).sum()
        found = torch.autograd.grad(log_prob, scales, retain_graph=True, allow_unused=True)
        assert [g is not None and bool(g.any()) for g in found] == [own <= scale for scale in range(3)]


def test_the_mean_learns_from_its_error_and_never_from_the_likelihood(randomised: Randomise) -> None:
    model = randomised(build(randomised, **TRUNK))
    x, y = images(model, 2)
    weight = model.encoder.head.conv.weight
    full, warm = (loss(y, x, torch.Generator().manual_seed(0)) for loss in (model.loss, model.warm_loss))
    error = 20.0 * (y - model.encode(x)[0][:, :3]).abs().flatten(1).mean(1)
    assert torch.equal(warm, error)
    of_full, of_error = (torch.autograd.grad(loss.sum(), weight)[0] for loss in (full, warm))
    assert torch.allclose(of_full[:3], of_error[:3], rtol=1e-9) and of_error[:3].any() and not of_error[3:].any()
    assert of_full[3:].any()


def test_without_a_weight_the_mean_learns_from_the_likelihood(randomised: Randomise) -> None:
    model = build(randomised, **{**TRUNK, "mean_weight": 0.0})
    x, y = images(model, 2)
    warm, full = (loss(y, x, torch.Generator().manual_seed(0)) for loss in (model.warm_loss, model.loss))
    assert torch.equal(warm, full)
    assert torch.autograd.grad(full.sum(), model.encoder.head.conv.weight)[0][:3].any()


@torch.no_grad()
def test_spread_widens_the_samples_around_the_shift_and_the_density_with_them(randomised: Randomise) -> None:
    plain, wide = (build(randomised, spread=spread, **TRUNK) for spread in (1.0, 1.5))
    x, _ = images(plain)
    shift = plain.encode(x)[0][:, :3]
    first, second = (model.sample(x, 2, 1.0, 0) for model in (plain, wide))
    assert torch.allclose(second.y - shift, 1.5 * (first.y - shift), rtol=1e-9, atol=1e-12)
    assert torch.allclose(second.log_prob, first.log_prob - first.y[0, 0].numel() * math.log(1.5), rtol=1e-12)
