"""Every bundled recipe builds, and whatever is wrong with another is one RecipeError."""

import tomllib
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cflowtool.errors import RecipeError
from cflowtool.models import CNF
from cflowtool.nets.rrdb import RRDB
from cflowtool.recipes import Recipe, build, load, make_task, model_config, names, parse

RIGHT = """
name = "tiny"
[task]
name = "super-resolve"
options = { scale = 2 }
[model]
name = "cnf"
config = { scale = 2, levels = 2, steps = 2, width = 8, trunk_channels = 8, blocks = 1, growth = 0, shift = "mean" }
[train]
steps = 10
[defaults]
temperature = 0.5
"""
WRONG = {
    "nothing": ("", None),
    "no TOML": ("name = ", None),
    "unknown section": ("[defaults]", "[nonsense]"),
    "unknown key": ("steps = 10", "steps = 10\nstep = 10"),
    "unknown key at the top": ("[task]", 'author = "me"\n[task]'),
    "unknown task": ('"super-resolve"', '"super-dissolve"'),
    "unknown option of the task": ("{ scale = 2 }", "{ scale = 2, zoom = 3 }"),
    "unknown model": ('"cnf"', '"gan"'),
    "unknown field of the model": ("blocks = 1", "brocks = 1"),
    "no steps": ("steps = 10", "steps = 0"),
    "words for numbers": ("steps = 10", 'steps = "many"'),
    "negative batch": ("steps = 10", "steps = 10\nbatch = -1"),
    "an average that never moves": ("steps = 10", "steps = 10\nema = 1.0"),
    "unknown precision": ("steps = 10", 'steps = 10\nprecision = "fp8"'),
    "negative temperature": ("temperature = 0.5", "temperature = -0.5"),
    "no name": ('name = "tiny"', ""),
    "training missing": ("[train]\nsteps = 10", ""),
}


@pytest.fixture(params=names())
def bundled(request: pytest.FixtureRequest) -> Recipe:
    return load(request.param)


def test_a_bundled_recipe_builds_the_model_of_its_task(bundled: Recipe) -> None:
    with torch.device("meta"):
        model = build(bundled)
    assert model.scale == make_task(bundled).scale and bundled.name in names() and bundled.title
    assert all(p.is_meta for p in model.parameters())


def test_a_bundled_recipe_trains_on_crops_that_fit_its_model(bundled: Recipe) -> None:
    with torch.device("meta"):
        model = build(bundled)
    side = bundled.train.crop / model.scale
    assert side % model.size.multiple_of == 0 and side >= model.size.minimum
    assert bundled.train.warm_up + bundled.train.mean_steps < bundled.train.steps


def test_a_recipe_survives_being_written_into_a_weight(bundled: Recipe) -> None:
    assert Recipe.model_validate_json(bundled.model_dump_json()) == bundled


def test_the_papers_settings_are_the_papers() -> None:
    recipe = load("cnf-paper")
    config, train = model_config(recipe), recipe.train
    with torch.device("meta"):
        model = build(recipe)
    assert isinstance(model, CNF)
    assert [type(block) for block in model.encoder.trunk.blocks] == [RRDB] * 16
    assert {b.convs[0].out_channels for b in model.encoder.trunk.blocks[0].blocks} == {32} and config.growth == 32
    assert len(model.pyramid.flows) == 2 and [len(flow.transforms) for flow in model.pyramid.flows] == [8, 8]
    assert (train.steps, train.batch, train.learning_rate) == (200_000, 64, 1e-4)
    with torch.device("meta"):
        counts = [sum(p.numel() for p in build(load(name)).parameters()) for name in ("cnf-paper", "factored-paper")]
    assert counts[0] == pytest.approx(counts[1], rel=0.01), "the paper matches the budgets"


@pytest.mark.parametrize("name", [name for name in names() if name.endswith("-paper")])
def test_nothing_the_papers_do_not_do_is_done_to_their_crops_and_gradients(name: str) -> None:
    train = load(name).train
    assert not train.flips and train.clip_norm == (1.0 if name.startswith("caflow") else 0.0)


def test_all_fields_of_the_config_are_told_the_defaults_too() -> None:
    given_fields, config = tomllib.loads(RIGHT)["model"]["config"], model_config(parse(RIGHT))
    assert vars(config).items() >= given_fields.items() and config.shift_bound == 4.0
    assert parse(RIGHT).defaults.temperature == 0.5 and build(parse(RIGHT)).config.steps == 2


@pytest.mark.parametrize("name", WRONG)
def test_whatever_is_wrong_is_a_recipe_error(name: str) -> None:
    old, new = WRONG[name]
    text = old if new is None else RIGHT.replace(old, new, 1)
    assert text != RIGHT
    with pytest.raises(RecipeError) as caught:
        parse(text, "some\x1b[31m.toml")
    assert str(caught.value).isprintable() and "some" in str(caught.value) and caught.value.hint


@given(st.text() | st.sampled_from(RIGHT.split()).flatmap(lambda word: st.just(RIGHT.replace(word, "1", 1))))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_any_text_is_a_recipe_or_a_recipe_error(text: str) -> None:
    try:
        recipe = parse(text)
    except RecipeError:
        return
    assert isinstance(recipe, Recipe)


def test_a_file_is_a_recipe_as_good_as_a_bundled_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(RIGHT, encoding="utf-8")
    assert load(str(path)) == parse(RIGHT)


@pytest.mark.parametrize("name", ["no-such-recipe", "", "..", "a" * 5000, "nul\0"])
def test_a_recipe_that_is_not_there_is_a_recipe_error(name: str) -> None:
    with pytest.raises(RecipeError):
        load(name)


def test_a_file_that_is_no_text_is_a_recipe_error(tmp_path: Path) -> None:
    (tmp_path / "picture.toml").write_bytes(b"\x89PNG\xff\xfe\x00")
    with pytest.raises(RecipeError):
        load(str(tmp_path / "picture.toml"))


@pytest.mark.parametrize("change", ['"mean" -> "meen"', 'blocks = 1 -> blocks = "one"', "steps = 2 -> steps = 2.5"])
def test_a_field_of_the_wrong_type_is_a_recipe_error(change: str) -> None:
    with pytest.raises(RecipeError):
        parse(RIGHT.replace(*change.split(" -> ")))


def test_a_model_of_another_scale_than_its_task_is_a_recipe_error() -> None:
    with pytest.raises(RecipeError):
        parse(RIGHT.replace("{ scale = 2 }", "{ scale = 4 }"))
