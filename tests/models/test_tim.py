"""TIM finds the nearest of its codes, learns from that one alone, and has no likelihood."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from cflowtool import recipes
from cflowtool.errors import NoLikelihood, RecipeError
from cflowtool.flows.gaussian import Latent
from cflowtool.images import bicubic_resize
from cflowtool.metrics.perceptual import make_distance
from cflowtool.models import Density, tim
from cflowtool.models.tim import TIM, TIMConfig, distance_on, first_of

Randomise = Callable[..., nn.Module]
PAPER = ["tim-super-resolve-16x-paper", "tim-colorize-paper", "tim-decompress-paper"]


def tower(**options: object) -> TIM:
    torch.manual_seed(0)
    small = {"scale": 2, "residual_channels": (8, 8), "dense_channels": (4, 4), "blocks": 1, "code_channels": 2}
    small |= {"mapping_dim": 4, "mapping_width": 8, "mapping_layers": 2, "draws": (3, 5), "distance": "multiscale"}
    return TIM(TIMConfig(**{**small, **options}))


def pair(model: TIM, batch: int = 2, side: int = 8) -> tuple[Tensor, Tensor]:
    """y and x that belongs to it, in float64."""
    generator = torch.Generator().manual_seed(1)
    y = torch.rand(batch, 3, side * model.scale, side * model.scale, generator=generator, dtype=torch.float64)
    return y, bicubic_resize(y, (side, side))


def recorded(model: TIM, monkeypatch: pytest.MonkeyPatch) -> list[tuple[range, Latent]]:
    """Fills with the modules and codes (B * m, c, h, w) of every lot of candidates."""
    seen: list[tuple[range, Latent]] = []
    original = model._candidates

    def draw(stage: range, *rest: object) -> Latent:
        seen.append((stage, original(stage, *rest)))
        return seen[-1][1]

    monkeypatch.setattr(model, "_candidates", draw)
    return seen


@torch.no_grad()
def distances(model: TIM, codes: Sequence[Tensor], y: Tensor, x: Tensor) -> list[Tensor]:
    """The distance of each module's picture, from its definition: x resized plus all answers so far."""
    measure, found, below = make_distance("multiscale"), [], None
    each = 2 if model.config.mapping_dim else 1
    for k in range(len(codes) // each):
        size = tuple(codes[each * k].shape[-2:])
        resized = x if size == x.shape[-2:] else bicubic_resize(x, size)
        hidden = model.encoder.convs[k](resized - 0.5)
        below = model.tower[k](hidden, codes[each * k : each * (k + 1)], below)
        target = y if size == y.shape[-2:] else bicubic_resize(y, size)
        found.append(measure(resized + below[1], target))
    return found


def test_it_has_no_likelihood() -> None:
    model = tower()
    draws = model.sample(torch.rand(1, 3, 4, 4), 2, 1.0, 0)
    assert not isinstance(model, Density) and draws.log_prob is None
    with pytest.raises(NoLikelihood):
        draws.ranked()


@pytest.mark.parametrize("mapping_dim", [4, 0])
@pytest.mark.parametrize("at_once", [2**20, 2 * 2 * 16 * 16])
def test_whole_codes_are_tried_at_once_and_the_nearest_by_the_sum_is_chosen(
    mapping_dim: int, at_once: int, randomised: Randomise, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tim, "_AT_ONCE", at_once)
    model = randomised(tower(mapping_dim=mapping_dim))
    (y, x), seen = pair(model), recorded(model, monkeypatch)
    codes, distance, evaluations = model.nearest(y, x, (5,), torch.Generator().manual_seed(2), hierarchical=False)
    assert evaluations == (5, 5) and len(seen) == (1 if at_once == 2**20 else 3)
    tried = [torch.cat([lot[k].unflatten(0, (2, -1)) for _, lot in seen], 1) for k in range(len(codes))]
    sums = torch.stack([sum(distances(model, [t[:, j] for t in tried], y, x)) for j in range(5)], 1)
    assert torch.allclose(distance, sums.min(1).values, atol=1e-6)
    for code, lot in zip(codes, tried, strict=True):
        assert torch.equal(code[:, 0], lot[torch.arange(2), sums.argmin(1)])


@pytest.mark.parametrize("mapping_dim", [4, 0])
def test_hierarchically_each_module_takes_the_nearest_on_top_of_what_was_chosen_below(
    mapping_dim: int, randomised: Randomise, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = randomised(tower(mapping_dim=mapping_dim))
    (y, x), seen = pair(model), recorded(model, monkeypatch)
    codes, distance, evaluations = model.nearest(y, x, (3, 5), torch.Generator().manual_seed(2))
    assert evaluations == (3, 5) and [stage for stage, _ in seen] == [range(0, 1), range(1, 2)]
    chosen: list[Tensor] = []
    for _, lot in seen:
        tried = [values.unflatten(0, (2, -1)) for values in lot]
        own = [distances(model, [*chosen, *(t[:, j] for t in tried)], y, x)[-1] for j in range(tried[0].shape[1])]
        best = torch.stack(own, 1).argmin(1)
        chosen += [t[torch.arange(2), best] for t in tried]
    assert all(torch.equal(code[:, 0], wanted) for code, wanted in zip(codes, chosen, strict=True))
    assert torch.allclose(distance, sum(distances(model, chosen, y, x)), atol=1e-6)


@pytest.mark.parametrize("hierarchical", [True, False])
@pytest.mark.parametrize("intermediate", [True, False])
def test_the_loss_is_the_distance_at_the_codes_found(
    hierarchical: bool, intermediate: bool, randomised: Randomise
) -> None:
    model = randomised(tower(hierarchical=hierarchical, intermediate=intermediate))
    y, x = pair(model)
    loss = model.loss(y, x, torch.Generator().manual_seed(3))
    found = model.nearest(y, x, (3, 5), torch.Generator().manual_seed(3), hierarchical)
    each = distances(model, [code[:, 0] for code in found.codes], y, x)
    assert torch.allclose(loss, sum(each) if intermediate else each[-1], atol=1e-6)
    assert torch.allclose(loss, found.distance, atol=1e-6)
    drawn = model.decode(found.codes, model.encode(x)).y[:, 0]
    assert torch.allclose(make_distance("multiscale")(drawn, y), each[-1], atol=1e-6)


def test_the_codes_are_drawn_anew_from_the_generator(randomised: Randomise) -> None:
    model = randomised(tower())
    y, x = pair(model)
    first, same, other = (model.nearest(y, x, (3, 5), torch.Generator().manual_seed(s)).codes for s in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True)) and not torch.equal(first[0], other[0])
    assert not torch.equal(first[0][0], first[0][1])


def test_an_image_among_others_gets_the_nearest_of_its_own_candidates(
    randomised: Randomise, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = randomised(tower())
    (y, x), seen = pair(model, 3), recorded(model, monkeypatch)
    together = model.nearest(y, x, (4, 4), torch.Generator().manual_seed(0))
    lots = [lot for _, lot in seen]
    for i in range(3):
        own = iter([tuple(values[4 * i : 4 * i + 4] for values in lot) for lot in lots])
        monkeypatch.setattr(model, "_candidates", lambda *_, own=own: next(own))
        alone = model.nearest(y[i : i + 1], x[i : i + 1], (4, 4), torch.Generator())
        assert torch.allclose(alone.distance, together.distance[i : i + 1], atol=1e-6)
        assert all(torch.equal(a[0], b[i]) for a, b in zip(alone.codes, together.codes, strict=True))


class Detail(nn.Module):
    """A module whose answer is that of the one below plus its own code."""

    def forward(
        self, hidden: Tensor, codes: Sequence[Tensor], below: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, ...]:
        """Return no features and the answer."""
        answer = codes[0] if below is None else codes[0] + nn.functional.interpolate(below[1], scale_factor=2.0)
        return codes[0], answer


def test_where_modules_add_detail_hierarchical_sampling_needs_fewer_draws() -> None:
    model = tower(mapping_dim=0, code_channels=3).double()
    model.tower = nn.ModuleList([Detail(), Detail()])
    _, x = pair(model, 100, 2)
    y = model.sample(x, 1, 1.0, 0).y[:, 0]
    near, vanilla, more = (
        model.nearest(y, x, draws, torch.Generator().manual_seed(1), hierarchical).distance.mean()
        for draws, hierarchical in (((16, 16), True), ((16,), False), ((32,), False))
    )
    assert near < more < vanilla


def test_a_number_of_draws_for_every_module_is_wanted() -> None:
    model = tower()
    with pytest.raises(ValueError, match="zip"):
        model.nearest(*pair(model.double()), (3,), torch.Generator())


@pytest.mark.parametrize("normalised", [True, False])
def test_every_parameter_learns_under_autocast_though_the_search_knows_no_gradient(
    normalised: bool, randomised: Randomise
) -> None:
    model = randomised(tower(weight_norm=normalised)).float().train()
    y, x = (t.float() for t in pair(model))
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(y, x, torch.Generator().manual_seed(0))
        drawn = model.sample(x, 1, 1.0, 0).y
    assert loss.dtype == drawn.dtype == torch.float32
    loss.sum().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_the_search_leaves_no_gradient_and_no_cached_kernel_behind(randomised: Randomise) -> None:
    model = randomised(tower())
    y, x = pair(model)
    found = model.nearest(y, x, (3, 5), torch.Generator())
    assert not found.distance.requires_grad and not any(code.requires_grad for code in found.codes)
    before = model.sample(x, 1, 0.0, 0).y
    model.tower[-1].head.parametrizations.weight.original0.data.mul_(2)
    assert not torch.equal(model.sample(x, 1, 0.0, 0).y, before)


def test_no_weight_carries_the_distance() -> None:
    model = tower(distance="multiscale")
    y, x = pair(model.double())
    before = {*model.state_dict()}
    model.loss(y, x, torch.Generator())
    assert {*model.state_dict()} == before and distance_on("multiscale", y.device) not in [*model.modules()]
    assert any("parametrizations.weight.original0" in name for name in before)


@pytest.mark.parametrize("part", [(0, 4), (4, 0), (4, 8)])
def test_a_tile_has_the_images_vectors_and_its_own_place_in_the_codes(part: tuple[int, int]) -> None:
    model = tower()
    whole = model.noise((16, 16), [0, 3], 0.7, 5)
    tile = model.noise((4, 4), [0, 3], 0.7, 5, part)
    for level, (image, piece) in enumerate(zip(whole, tile, strict=True)):
        step = piece.shape[-1] // 4
        top, left = (0, 0) if level % 2 else (part[0] * step, part[1] * step)
        assert torch.equal(image[..., top : top + piece.shape[-2], left : left + piece.shape[-1]], piece)
        assert (piece.shape[-1] == 1) == bool(level % 2)


@pytest.mark.parametrize(("scale", "modules", "multiple"), [(1, 4, 8), (2, 2, 1), (2, 4, 4), (16, 4, 1), (3, 2, 2)])
def test_any_multiple_of_what_the_size_rule_says_fits(scale: int, modules: int, multiple: int) -> None:
    model = tower(scale=scale, residual_channels=modules * (8,), dense_channels=modules * (4,), draws=modules * (1,))
    assert model.size.multiple_of == multiple
    y = model.sample(torch.rand(1, 3, 3 * multiple, multiple), 1, 1.0, 0).y
    assert y.shape == (1, 1, 3, 3 * multiple * scale, multiple * scale)


def expected_parameters(config: TIMConfig) -> int:
    """Count them from the figures: convolutions with bias and one length a filter, dense layers with bias."""

    def conv(inside: int, outside: int, bias: bool = True) -> int:
        return outside * (9 * inside + 1 + bias)

    total, below = 0, 0
    sizes = zip(config.residual_channels, config.dense_channels, strict=True)
    for width, growth in sizes:
        dense = sum(conv(width + i * growth, growth) for i in range(4)) + conv(width + 4 * growth, width)
        rrdbs = config.blocks * 3 * dense
        first = conv(config.in_channels, width) + conv(config.code_channels + below, width, bias=False)
        last = 2 * conv(width, width) + conv(width, config.channels)
        hidden, out = config.mapping_width, 2 * width * config.blocks
        mapping = (config.mapping_dim + 1) * hidden + (config.mapping_layers - 1) * (hidden + 1) * hidden
        total += first + rrdbs + last + mapping + (hidden + 1) * out
        below = width
    return total


@pytest.mark.parametrize("name", [*PAPER[:2], "super-resolve-tim-x2"])
def test_the_recipes_have_the_parameters_and_codes_of_their_figures(name: str) -> None:
    recipe = recipes.load(name)
    with torch.device("meta"):
        model = recipes.build(recipe)
    config = recipes.model_config(recipe)
    assert isinstance(model, TIM) and sum(p.numel() for p in model.parameters()) == expected_parameters(config)
    modules, side = len(config.draws), 2 * model.size.multiple_of
    sides = [side * config.scale >> (modules - 1 - k) for k in range(modules)]
    wanted = [shape for s in sides for shape in ((config.code_channels, s, s), (config.mapping_dim, 1, 1))]
    assert model.latent_shapes(side, side) == wanted
    context = model.encode(torch.empty(1, config.in_channels, side, side, device="meta"))
    channels = [c for width in config.residual_channels for c in (config.channels, width)]
    assert [tuple(part.shape) for part in context] == [
        (1, c, sides[k // 2], sides[k // 2]) for k, c in enumerate(channels)
    ]


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_recipes_share_one_architecture(name: str) -> None:
    recipe = recipes.load(name)
    config = replace(recipes.model_config(recipe), scale=16, in_channels=3, channels=3, draws=4 * (120,))
    assert replace(config, distance="lpips") == TIMConfig() == recipes.model_config(recipes.load(PAPER[0]))
    rate = 1.25e-4 if "16x" in name else 1e-4
    assert (recipe.train.batch, recipe.train.learning_rate, recipe.train.steps) == (1, rate, 200_000)


@pytest.mark.parametrize(
    "change",
    [
        ("draws = [8, 8]", "draws = [8]"),
        ("draws = [8, 8]", "draws = [8, 0]"),
        ('"multiscale"', '"lite0"\nchannels = 2'),
    ],
    ids=lambda change: change[1],
)
def test_what_does_not_fit_together_is_a_recipe_error(change: tuple[str, str]) -> None:
    source = recipes.resources.files("cflowtool") / "recipes_data" / "super-resolve-tim-x2.toml"
    text = source.read_text("utf-8")
    recipes.parse(text)
    with pytest.raises(RecipeError):
        recipes.parse(text.replace(*change, 1))


def test_the_first_of_all_is_that_of_each_image() -> None:
    scores, names = torch.tensor([3.0, 1.0, 2.0, 0.0, 5.0, 4.0]), torch.arange(6)
    assert [v.tolist() for v in first_of([scores, names], 3)] == [[1.0, 0.0], [1, 3]]
