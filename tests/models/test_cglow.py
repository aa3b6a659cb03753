"""c-Glow's likelihood is the change of variables, in a window too, and its recipes have the paper's sizes."""

import math
import tomllib
from collections.abc import Callable
from importlib import resources
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cflowtool.models.cglow import CGlow, CGlowConfig

Randomise = Callable[..., nn.Module]
SMALL = {"levels": 2, "steps": 1, "width": 8, "conditioning_channels": 4, "conditioning_width": 8,
         "coupling_channels": 4, "size": (8, 8)}  # fmt: skip
WINDOW = {"size": (16, 16), "window": 0.5, "in_channels": 4}
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "scaled residual": {"scale": 2, "shift": "bicubic", "size": (4, 8)},
    "pooled": {"pooled": True},
    "window": WINDOW,
    "binary": {"target_levels": 2, "channels": 1},
}


def cglow(**options: Any) -> CGlow:
    torch.manual_seed(0)
    return CGlow(CGlowConfig(**{**SMALL, **options}))


def conditions(model: CGlow, batch: int = 1) -> Tensor:
    """x of a model; with a window the fourth channel is the hole, 1 in the centre, where the picture is 1/2."""
    x = torch.rand(batch, model.in_channels, *model.config.size, generator=torch.Generator().manual_seed(1)).double()
    if model.parts > 1:
        x[:, 3] = 0
        x[:, 3, 4:12, 4:12] = 1
        x[:, :3, 4:12, 4:12] = 0.5
    return x


def truths(model: CGlow, x: Tensor) -> Tensor:
    sides = (side * model.scale for side in x.shape[-2:])
    y = torch.rand(len(x), model.channels, *sides, generator=torch.Generator().manual_seed(2)).to(x)
    return y.round() if model.levels == 2 else y


@pytest.mark.parametrize("kind", KINDS)
def test_the_log_prob_is_the_change_of_variables_of_the_unknown_values(kind: str, randomised: Randomise) -> None:
    model = randomised(cglow(**KINDS[kind]))
    x = conditions(model)
    y, context = truths(model, x), model.encode(x)
    inner = model._window(y).clone()

    def noise_of(values: Tensor) -> Tensor:
        z, _ = model.actnorm(values - model._window(context[0]), values)
        return torch.cat([eps.flatten() for eps in model.pyramid(z, context[1:])[0]])

    assert inner.numel() == model.dims(*x.shape[-2:]) == noise_of(inner).numel()
    log_det = torch.linalg.slogdet(torch.autograd.functional.jacobian(noise_of, inner).flatten(1)).logabsdet
    wanted = torch.distributions.Normal(0.0, 1.0).log_prob(noise_of(inner)).sum() + log_det
    assert model.log_prob(y, x).item() == pytest.approx(wanted.item(), abs=1e-7)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_drawing_and_scoring_agree_and_the_noise_comes_back(kind: str, randomised: Randomise) -> None:
    model = randomised(cglow(**KINDS[kind]))
    x = conditions(model, 2)
    eps = tuple(torch.randn(2, 3, *shape).double() for shape in model.latent_shapes(*x.shape[-2:]))
    assert sum(e[0, 0].numel() for e in eps) == model.dims(*x.shape[-2:])
    draws, context = model.decode(eps, model.encode(x)), model.encode(x)
    for k in range(3):
        y = draws.y[:, k]
        assert draws.log_prob is not None
        assert torch.allclose(draws.log_prob[:, k], model.log_prob(y, x), rtol=0, atol=1e-8)
        z, _ = model.actnorm(model._window(y - context[0]), y)
        for back, wanted in zip(model.pyramid(z, context[1:])[0], eps, strict=True):
            assert (back - wanted[:, k]).abs().max() < 1e-8


@torch.no_grad()
def test_a_window_keeps_what_is_known_and_counts_what_is_not(randomised: Randomise) -> None:
    model = randomised(cglow(**WINDOW))
    x = conditions(model, 2)
    y = model.sample(x, 4, 1.0, 0).y
    hole = x[:, None, 3:].bool().expand_as(y)
    assert torch.equal(y[~hole], x[:, None, :3].expand_as(y)[~hole]) and (y[hole] - 0.5).abs().min() > 0
    assert model.dims(16, 16) == 3 * 8 * 8
    other = torch.where(hole[:, 0], y[:, 0], torch.rand_like(y[:, 0]))
    context = model.encode(x)
    assert torch.equal(model.log_prob_given(other, context), model.log_prob_given(y[:, 0], context))
    cells = model.log_mass_given(y[:, 0], context) - model.log_prob_given(y[:, 0], context)
    assert torch.allclose(cells, torch.tensor(-3 * 8 * 8 * math.log(256)).double())


@torch.no_grad()
def test_the_whole_of_x_matters_everywhere(randomised: Randomise) -> None:
    model = randomised(cglow(size=(32, 32)))
    x = conditions(model)
    y, changed = truths(model, x), x.clone()
    changed[..., -1, -1] += 0.5
    eps, other = (model.pyramid(model.actnorm(y - 0.5, y)[0], model.encode(given)[1:])[0] for given in (x, changed))
    assert ((eps[0] - other[0])[..., 0, 0].abs() > 0).all()


def test_temperature_nothing_is_nothing(randomised: Randomise) -> None:
    model = randomised(cglow())
    x = conditions(model, 2)
    cold = model.sample(x, 3, 0.0, 4)
    zeros = tuple(torch.zeros(2, 1, *shape).double() for shape in model.latent_shapes(8, 8))
    mode = model.decode(zeros, model.encode(x)).y
    assert torch.equal(cold.y, mode.expand_as(cold.y))
    assert torch.equal(model.predict(x, 3, 0.0), cold.y.mean(1)) and not torch.equal(model.predict(x, 3, 1.0), cold.y)


@torch.no_grad()
def test_a_prediction_is_the_mean_of_the_samples_and_a_binary_one_is_rounded(randomised: Randomise) -> None:
    model, binary = (randomised(cglow(target_levels=levels)) for levels in (256, 2))
    x = conditions(model, 2)
    assert torch.allclose(model.predict(x, 7, 0.8, 3), model.sample(x, 7, 0.8, 3).y.mean(1))
    rounded, mean = binary.predict(x, 7, 0.8, 3), binary.sample(x, 7, 0.8, 3).y.mean(1)
    assert {*rounded.unique().tolist()} == {0.0, 1.0} and torch.equal(rounded.bool(), mean > 0.5)


@torch.no_grad()
def test_binary_values_spread_over_cells_of_width_one_that_round_back_to_them(randomised: Randomise) -> None:
    model = randomised(cglow(target_levels=2, channels=1, levels=1, size=(8, 8)), 0.1)
    x, y = conditions(model), truths(model, conditions(model)).expand(50, -1, -1, -1)
    generator, context = torch.Generator().manual_seed(0), model.encode(x)
    v = y + torch.rand(y.shape, generator=torch.Generator().manual_seed(0), dtype=y.dtype) - 0.5
    masses = model.log_mass_given(y, context, generator)
    assert torch.equal((v > 0.5).to(y), y) and torch.allclose(masses, model.log_prob_given(v, context), atol=1e-9)
    loss = model.loss(y[:1], x, torch.Generator().manual_seed(0))
    only = model.log_mass_given(y[:1], context, torch.Generator().manual_seed(0))
    assert torch.allclose(loss, -only / (64 * math.log(2)))


def test_an_x_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="8 x 16"):
        cglow().encode(torch.rand(1, 3, 8, 16))


@pytest.mark.parametrize(
    "wrong",
    [{"size": (12, 8)}, {"size": (8, 0)}, {"window": 0.0}, {"window": 0.4}, {"window": 2.0}, {"window": 1 / 3},
     {"shift": "mean"}, {"pooled": True, "window": 0.5}],
)  # fmt: skip
def test_sizes_that_do_not_fit_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"window|size|shift"):
        CGlowConfig(**{**SMALL, **wrong})


def conv(inputs: int, outputs: int, kernel: int = 1, bias: bool = True) -> int:
    return inputs * outputs * kernel**2 + outputs * bias


def parameters_of(seen: int, side: int, x_channels: int) -> int:
    """The weights of L = 3, K = 8, n_c = 64, n_w = 128 for y of 3 channels and ``seen`` pixels a side, x of ``side``.

    Three convolutions 4 x 4 of stride 2 and three connected layers make 2c and c^2 numbers; 3 x 3, down, 3 x 3 of 16
    channels make x_r (section 5.1); a coupling and a split's prior have convolutions of 256 channels.
    """
    total = 2 * 3
    for level in range(3):
        c, stride = 12 * 2**level, 2 ** (level + 1) * side // seen
        for outputs in (2 * c, c * c):
            down = conv(x_channels, 64, 4) + 2 * conv(64, 64, 4)
            total += 8 * (down + conv(64 * (side // 8) ** 2, 128) + conv(128, 128) + conv(128, outputs))
        features = conv(x_channels, 16, 3) + conv(16, 16, stride + 2) + conv(16, 16, 3)
        net = conv(c // 2 + 16, 256, 3) + conv(256, 256) + conv(256, c, 3)
        total += (8 if level == 2 else 9) * (features + net)
    return total


PAPER = {
    "cglow-denoise-paper": (128, 128, 4, 50_000),
    "cglow-inpaint-paper": (32, 64, 4, 300_000),
    "cglow-segment-32-paper": (32, 32, 3, 50_000),
    "cglow-segment-64-paper": (64, 64, 3, 50_000),
    "cglow-segment-128-paper": (128, 128, 3, 50_000),
}


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_recipes_have_the_papers_sizes(name: str) -> None:
    seen, side, x_channels, steps = PAPER[name]
    recipe = tomllib.loads((resources.files("cflowtool") / "recipes_data" / f"{name}.toml").read_text("utf-8"))
    train = recipe["train"]
    assert (train["steps"], train["batch"], train["learning_rate"], train["crop"]) == (steps, 2, 2e-4, side)
    assert recipe["defaults"] == {"samples": 10, "temperature": 1.0}
    with torch.device("meta"):
        model = CGlow(CGlowConfig(**{**recipe["model"]["config"], "size": (side, side)})).eval()
        context = model.encode(torch.empty(2, x_channels, side, side))
    assert recipe["model"]["config"]["size"] == [side, side]
    assert sum(p.numel() for p in model.parameters()) == parameters_of(seen, side, x_channels)
    assert model.latent_shapes(side, side) == [
        (6, seen // 2, seen // 2), (12, seen // 4, seen // 4), (48, seen // 8, seen // 8)
    ]  # fmt: skip
    wanted = [(2, 3, side, side)]
    for level in range(3):
        c, at = 12 * 2**level, seen >> (level + 1)
        wanted += [(2, 8 * (2 * c + c * c), 1, 1), *[(2, 256, at, at)] * (8 if level == 2 else 9)]
    assert [tuple(entry.shape) for entry in context] == wanted


def test_training_keeps_the_features_of_x_in_the_place_of_its_maps() -> None:
    config = CGlowConfig(size=(8, 8), levels=2, steps=2, width=64, conditioning_width=8, coupling_channels=4)
    model, x = CGlow(config).train(), torch.rand(2, 3, 8, 8)

    def channels() -> list[int]:
        return [entry.shape[1] for entry in model.encode(x) if entry.shape[-1] > 1][1:]

    assert channels() == [4] * 5
    assert model.recompute() is model and channels() == [4] * 5
    with torch.no_grad():
        assert channels() == [64] * 5
    assert set(model.state_dict()) == set(CGlow(config).state_dict())
    model.eval()
    assert channels() == [64] * 5


def test_in_training_too_drawing_undoes_scoring(randomised: Randomise) -> None:
    model = randomised(cglow()).train()
    x = conditions(model, 2)
    y, context = truths(model, x), model.encode(x)
    z, _ = model.actnorm(y - context[0], y)
    eps, log_det = model.pyramid(z, context[1:])
    back, log_det_back = model.pyramid.inverse(eps, context[1:])
    assert torch.allclose(back, z, rtol=0, atol=1e-9) and torch.allclose(log_det, -log_det_back, rtol=0, atol=1e-9)
