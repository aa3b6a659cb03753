"""What every model promises: a new one is one more line of SMALL."""

import sys
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from cflowtool.errors import NoLikelihood
from cflowtool.flows.transform import Region, counted
from cflowtool.models import MODELS, Density, Draws, Sampler

TINY = {"trunk_channels": 8, "blocks": 1, "growth": 0}
FLOWS = {"condition_steps": 1, "target_steps": 1, "steps": 1, "width": 8, "conditional_width": 4}
SMALL = {
    "cnf": {**TINY, "levels": 2, "steps": 2, "width": 8, "shift": "mean", "mean_weight": 20.0},
    "cnf deep": {**TINY, "growth": 4, "levels": 3, "steps": 1, "width": 8, "shift": "bicubic"},
    "cnf unshuffled": {**TINY, "levels": 2, "steps": 1, "width": 8, "shift": "mean", "unshuffle": 2},
    "cnf unet": {**TINY, "steps": 1, "width": 8, "shift": "mean", "unshuffle": 2, "depth": 1, "in_channels": 4},
    "cnf hole": {**TINY, "steps": 2, "width": 8, "shift": "mean", "mean_weight": 20.0, "hole": True, "in_channels": 4},
    "factored": TINY,
    "factored unet": {**TINY, "depth": 2},
    "caflow": {**FLOWS, "scales": 2, "shift": "bicubic", "dequantization": "uniform"},
    "caflow shared": {**FLOWS, "scales": 3, "shared": True},
    "caflow dual-glow": {**FLOWS, "scales": 2, "factorization": "dual-glow"},
    "caflow trunk": {**FLOWS, "scales": 2, "trunk_channels": 8, "shift": "mean", "mean_weight": 20.0},
}
CONDITIONAL = {"conditioning_channels": 4, "conditioning_width": 8, "coupling_channels": 4, "width": 8, "steps": 1}
SMALL |= {
    "cglow": {**CONDITIONAL, "levels": 2, "size": (8, 8), "shift": "bicubic"},
    "cglow pooled": {**CONDITIONAL, "levels": 3, "pooled": True},
}
BINARY = {"encoder_channels": 8}
TOWER = {"residual_channels": (8, 8), "dense_channels": (4, 4), "blocks": 1, "code_channels": 2, "mapping_width": 8}
TOWER |= {"mapping_layers": 2, "draws": (2, 2), "distance": "multiscale"}
SMALL |= {
    "binary-cnf": {**BINARY, "encoder": "unet", "norm": "none", "steps": 2, "width": 8, "mean_weight": 1.0},
    "binary-cnf vgg": {**BINARY, "steps": 1, "width": 8},
    "factored-binary": {**BINARY, "norm": "none"},
    "factored-binary weighted": {**BINARY, "encoder": "unet", "norm": "group", "beta": 0.1},
}
SCALES = {"binary-cnf": (1,), "factored-binary": (1,), "cnf unet": (1,), "cnf hole": (1,)}
SMALL |= {
    "tim": {**TOWER, "mapping_dim": 4},
    "tim plain": {**TOWER, "mapping_dim": 0, "weight_norm": False, "intermediate": False, "hierarchical": False},
}
HEAVY = {"caflow": "condition_flow"}
CASES = [(name, scale) for name in SMALL for scale in SCALES.get(name, SCALES.get(name.split()[0], (2, 4)))]
DENSITIES = [(name, scale) for name, scale in CASES if issubclass(MODELS[name.split()[0]], Density)]
of_densities = pytest.mark.parametrize("model", DENSITIES, ids=lambda case: f"{case[0]}-x{case[1]}", indirect=True)
Randomise = Callable[..., nn.Module]


def build(name: str, scale: int) -> Sampler:
    torch.manual_seed(0)
    kind = MODELS[name.split()[0]]
    return kind(kind.Config(scale=scale, **SMALL[name]))


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-x{case[1]}")
def model(request: pytest.FixtureRequest, randomised: Randomise) -> Sampler:
    """A model in float64 whose weights are all away from their start."""
    return randomised(build(*request.param), 0.2)


def conditions(model: Sampler, batch: int = 1, blocks: int = 2, dtype: torch.dtype = torch.float64) -> Tensor:
    side = model.size.multiple_of * blocks
    generator = torch.Generator().manual_seed(4)
    height, width = model.size.fixed or (side, 2 * side)
    return torch.rand(batch, model.in_channels, height, width, generator=generator, dtype=torch.float64).to(dtype)


def truths(model: Sampler, x: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.rand(len(x), model.channels, *(model.scale * side for side in x.shape[-2:]), generator=generator).to(x)


def model_name(model: Sampler) -> str:
    return next(name for name, kind in MODELS.items() if type(model) is kind)


def alone_of(draws: Draws, images: slice, samples: slice) -> Draws:
    log_prob = draws.log_prob
    return Draws(draws.y[images, samples], None if log_prob is None else log_prob[images, samples])


def scored(draws_log_prob: Tensor | None, model: Sampler) -> Tensor:
    assert isinstance(model, Density) and draws_log_prob is not None
    return draws_log_prob


def test_every_model_is_held_to_the_contract() -> None:
    assert {name.split()[0] for name in SMALL} == {*MODELS}


@pytest.mark.parametrize("n", [1, 5])
def test_x_is_encoded_once_however_many_are_drawn(model: Sampler, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, encode = [], model.encode
    monkeypatch.setattr(model, "encode", lambda x: calls.append(x.shape[0]) or encode(x))
    inner: list[int] = []
    getattr(model, HEAVY.get(model_name(model), "encoder")).register_forward_hook(lambda *_: inner.append(1))
    model.sample(conditions(model, 2), n, 1.0, 0)
    assert calls == [2] and len(inner) == 1


@pytest.mark.parametrize("blocks", [1, 3])
def test_draws_have_their_shapes_at_any_size_that_fits(model: Sampler, blocks: int) -> None:
    x = conditions(model, 2, blocks)
    draws = model.sample(x, 3, 1.0, 0)
    assert draws.y.shape == (2, 3, model.channels, model.scale * x.shape[-2], model.scale * x.shape[-1])
    assert draws.log_prob is None or draws.log_prob.shape == (2, 3)
    assert torch.isfinite(draws.y).all() and draws.y.dtype == x.dtype


@of_densities
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@torch.no_grad()
def test_the_log_prob_gathered_in_decoding_is_that_of_the_image(
    model: Sampler, dtype: torch.dtype, tolerance: float
) -> None:
    model, x = model.to(dtype), conditions(model, 2, dtype=dtype)
    draws = model.sample(x, 3, 0.9, 1)
    again = torch.stack([model.log_prob(draws.y[:, k], x) for k in range(3)], 1)
    assert again.dtype == dtype and again.shape == (2, 3)
    assert torch.allclose(scored(draws.log_prob, model), again, rtol=tolerance, atol=tolerance)


# A batch of another size may be summed in another order, which a deep flow's inverse makes larger.
ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-3}
PRECISIONS = {
    "float64": (torch.float64, 0.0),
    "fp32 without oneDNN": (torch.float32, 0.0),
    "fp32": (torch.float32, 1e-4),
}


@pytest.fixture(params=PRECISIONS)
def precision(request: pytest.FixtureRequest) -> Iterator[tuple[torch.dtype, float]]:
    """A precision, and how far apart one result may be from itself: oneDNN's kernels depend on the batch size."""
    with torch.backends.mkldnn.flags(enabled=request.param == "fp32"):
        yield PRECISIONS[request.param]


def assert_same(first: Draws, second: Draws, tolerance: float) -> None:
    assert (first.log_prob is None) == (second.log_prob is None)
    for values, wanted in ((first.y, second.y), (first.log_prob, second.log_prob)):
        if values is None or wanted is None:
            continue
        assert torch.equal(values, wanted) if not tolerance else torch.allclose(values, wanted, tolerance, tolerance)


def test_one_sample_alone_is_itself_among_many(model: Sampler, precision: tuple[torch.dtype, float]) -> None:
    dtype, tolerance = precision
    model, x = model.to(dtype), conditions(model, dtype=dtype)
    many, one = model.sample(x, 5, 0.8, 3), model.sample(x, 1, 0.8, 3, start=3)
    assert_same(alone_of(many, slice(None), slice(3, 4)), one, tolerance)


def test_images_at_once_are_each_alone(model: Sampler, precision: tuple[torch.dtype, float]) -> None:
    dtype, _ = precision
    model, x = model.to(dtype), conditions(model, 2, dtype=dtype)
    both = model.sample(x, 2, 0.8, 3)
    for i in range(2):
        alone = model.sample(x[i : i + 1], 2, 0.8, 3)
        assert_same(alone_of(both, slice(i, i + 1), slice(None)), alone, ROUNDING[dtype])


def test_nothing_beyond_its_reach_influences_a_result(model: Sampler) -> None:
    if model.reach == sys.maxsize:
        pytest.skip("normalized over the image, so that everything influences everything")
    unit = model.size.multiple_of
    length = unit * -(-(model.reach + 6) // unit)
    x = torch.rand(1, model.in_channels, unit, length, dtype=torch.float64, requires_grad=True)
    noise = model.noise((unit, length), [0], 1.0, 0)
    with counted(Region(unit, length, 0, length - 1, unit, length)):
        draws = model.decode(tuple(eps[None].to(x) for eps in noise), model.encode(x))
    last = draws.y[..., -1].square() if draws.y.requires_grad else scored(draws.log_prob, model)
    (gradient,) = torch.autograd.grad(last.sum(), x)
    assert gradient[..., -1].any() and not gradient[..., : length - 1 - model.reach].any()


def test_the_seed_decides_and_without_temperature_it_does_not(model: Sampler) -> None:
    x = conditions(model)
    first, same, other = (model.sample(x, 2, 1.0, seed).y for seed in (0, 0, 1))
    assert torch.equal(first, same) and (first - other).abs().max() > 1e-3
    assert (first[:, 0] - first[:, 1]).abs().max() > 1e-3
    cold, too = (model.sample(x, 2, 0.0, seed).y for seed in (0, 1))
    assert torch.equal(cold, too) and torch.equal(cold[:, 0], cold[:, 1]) and not torch.equal(cold, first)


def test_ranking_follows_the_log_prob(model: Sampler) -> None:
    x = conditions(model, 2)
    if not isinstance(model, Density):
        with pytest.raises(NoLikelihood):
            model.sample(x, 4, 1.0, 0).ranked()
        return
    ranked = model.sample(x, 4, 1.0, 0).ranked()
    again = torch.stack([model.log_prob(ranked.y[:, k], x) for k in range(4)], 1)
    assert (again.diff(dim=1) <= 0).all() and again.unique().numel() == 8


@of_densities
@torch.no_grad()
def test_the_log_prob_of_each_image_is_its_own(model: Sampler) -> None:
    x = conditions(model, 3)
    y = truths(model, x)
    together, context = model.log_prob(y, x), model.encode(x[:1])
    alone = torch.cat([model.log_prob(y[i : i + 1], x[i : i + 1]) for i in range(3)])
    assert together.shape == (3,) and torch.allclose(together, alone, rtol=1e-12)
    one_context = model.log_prob_given(y, context)
    assert torch.allclose(one_context, model.log_prob(y, x[:1].expand_as(x)), rtol=1e-12)


@of_densities
@torch.no_grad()
def test_the_log_probs_of_the_regions_of_an_image_add_up(model: Sampler) -> None:
    x = conditions(model)
    y, middle = truths(model, x), model.scale * model.size.multiple_of
    height, width = y.shape[-2:]
    parts = []
    for cut in ((0, 0, middle, width), (middle, 0, height, middle), (middle, middle, height, width)):
        with counted(Region(height, width, *cut)):
            parts.append(model.log_prob(y, x))
    assert torch.allclose(sum(parts), model.log_prob(y, x), rtol=1e-9)


@of_densities
def test_log_probs_stay_fp32_when_the_networks_do_not(model: Sampler) -> None:
    model, x = model.float(), conditions(model, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        draws, loss = model.sample(x, 2, 0.8, 0), model.loss(truths(model, x), x, torch.Generator())
        again = scored(draws.log_prob, model)[:, 0], model.log_prob(draws.y[:, 0], x)
    assert {draws.y.dtype, loss.dtype, again[0].dtype, again[1].dtype} == {torch.float32}
    assert torch.allclose(*again, rtol=1e-3, atol=1)


@pytest.mark.parametrize(("name", "scale"), CASES)
def test_a_saved_state_scores_the_same(name: str, scale: int) -> None:
    first, second = build(name, scale), build(name, scale)
    x = conditions(first, 2, dtype=torch.float32)
    y = truths(first, x)
    first.loss(y, x, torch.Generator()).sum().backward()
    with torch.no_grad():
        for parameter in (*first.parameters(), *second.parameters()):
            parameter.add_(0.1 * torch.randn_like(parameter))
    second.load_state_dict(first.state_dict())
    assert torch.equal(second.sample(x, 1, 1.0, 0).y, first.sample(x, 1, 1.0, 0).y)
    if isinstance(first, Density) and isinstance(second, Density):
        assert torch.equal(second.log_prob(y, x), first.log_prob(y, x))


@pytest.mark.parametrize("loss", ["loss", "warm_loss"])
@pytest.mark.parametrize(("name", "scale"), CASES)
def test_losses_are_one_number_an_image_and_the_generators(name: str, scale: int, loss: str) -> None:
    model = build(name, scale).eval()
    x = conditions(model, 2, dtype=torch.float32)
    first, same = (getattr(model, loss)(truths(model, x), x, torch.Generator().manual_seed(7)) for _ in range(2))
    assert first.shape == (2,) and torch.equal(first, same) and first.requires_grad


def smooth_images(count: int, side: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, side // 4, side // 4, generator=generator)
    return (nn.functional.interpolate(coarse, scale_factor=4, mode="bilinear") * 256).floor().add(0.5).div(256)


@pytest.mark.parametrize(("name", "scale"), CASES)
def test_training_overfits_one_batch(name: str, scale: int) -> None:
    model = build(name, scale)
    y = smooth_images(4, scale * model.size.fixed[0] if model.size.fixed else 16)
    x = nn.functional.pad(nn.functional.avg_pool2d(y, scale), (0, 0, 0, 0, 0, model.in_channels - 3), value=1.0)
    binary = isinstance(model, Density) and model.levels == 2
    y = y[:, : model.channels].round() if binary else y
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    losses = []
    for _ in range(60):
        loss = model.loss(y, x, torch.Generator().manual_seed(0)).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        losses.append(loss.item())
    halved = binary or not isinstance(model, Density)
    assert losses[-1] < (losses[1] / 2 if halved else losses[1] - 1.0), losses


FIRST = [(name, next(scale for case, scale in CASES if case == name)) for name in SMALL]
once_each = pytest.mark.parametrize("model", FIRST, ids=lambda case: case[0], indirect=True)


@once_each
@torch.no_grad()
def test_prepared_it_gives_the_same_samples_and_log_probs(model: Sampler) -> None:
    x = conditions(model, 2)

    def results() -> list[Tensor]:
        draws = model.sample(x, 2, 0.8, 0)
        return [draws.y] + ([] if draws.log_prob is None else [draws.log_prob, model.log_prob(truths(model, x), x)])

    plain, state = results(), set(model.state_dict())
    assert model.prepare() is model and set(model.state_dict()) == state
    assert all(torch.allclose(found, value, rtol=1e-9) for found, value in zip(results(), plain, strict=True))


@once_each
def test_recomputed_activations_give_the_same_gradients(model: Sampler) -> None:
    x = conditions(model, 2)
    model, y = model.train(), truths(model, x).round()

    def gradients() -> list[Tensor]:
        model.zero_grad()
        model.loss(y, x, torch.Generator().manual_seed(3)).sum().backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    plain = gradients()
    model.recompute()
    found = gradients()
    assert len(found) == len(plain) > 0
    for one, other in zip(found, plain, strict=True):
        assert torch.allclose(one, other, rtol=1e-6, atol=1e-7 * float(other.abs().max()) + 1e-9)
