"""What the commands do with a model that has no likelihood: they draw, they order by a named score, they never rank."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cflowtool import images, recipes, weights

Photo = Callable[..., Path]

RECIPE = """
name = "blind"
[task]
name = "super-resolve"
options = { scale = 2 }
[model]
name = "tim"
[model.config]
scale = 2
residual_channels = [8, 8]
dense_channels = [4, 4]
blocks = 1
mapping_dim = 4
mapping_width = 8
mapping_layers = 2
draws = [2, 2]
distance = "multiscale"
[train]
steps = 4
batch = 2
crop = 16
warm_up = 1
decay = 0.0
precision = "bf16"
[defaults]
samples = 3
temperature = 1.0
"""


@pytest.fixture(scope="module")
def weight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained TIM x2 whose parameters were moved away from their start, so that its samples differ."""
    torch.manual_seed(5)
    recipe = recipes.parse(RECIPE)
    model = recipes.build(recipe)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    path = tmp_path_factory.mktemp("weights") / "blind.safetensors"
    weights.save(path, model, weights.WeightCard(recipe=recipe))
    return path


@pytest.fixture
def draw(cflow, weight: Path, photo: Photo):
    """A function that restores one image with the weight and returns the result and the manifest."""

    def call(*arguments: object, out: str = "out", expected: int = 0):
        if not Path("img.png").exists():
            photo(Path("img.png"))
        result = cflow("super-resolve", "img.png", *arguments, "--model", weight, "-o", out)
        assert result.code == expected, result.err
        manifest = Path(out, "img/samples.json")
        return result, json.loads(manifest.read_text()) if manifest.exists() else {}

    return call


def test_samples_come_in_the_order_drawn_and_nothing_is_called_a_likelihood(draw) -> None:
    result, manifest = draw("--sheet", "--mean", "--std", "--json")
    samples = manifest["samples"]
    assert manifest["order_by"] == "drawn" and [s["index"] for s in samples] == [0, 1, 2]
    assert {(s["rank"], s["log_prob"], s["bits_per_dim"]) for s in samples} == {(None, None, None)}
    pictures = [images.read(Path("out/img", s["file"])) for s in samples]
    assert not (pictures[0].pixels == pictures[1].pixels).all() and not {"cflow:rank", "cflow:log_prob"} & {
        *pictures[0].text
    }
    assert pictures[0].text["cflow:order_by"] == "drawn" and "likely" not in result.out + result.err
    assert {"mean.png", "std.png", "sheet.png"} < {path.name for path in Path("out/img").iterdir()}


def test_by_consistency_the_nearest_to_the_input_comes_first(draw) -> None:
    drawn = draw("--samples", 4)[1]["samples"]
    for kept in (4, 2):
        manifest = draw("--samples", 4, "--keep", kept, "--order", "consistency", "--sheet", out=f"by{kept}")[1]
        samples = manifest["samples"]
        assert manifest["order_by"] == "consistency" and [s["rank"] for s in samples] == list(range(1, kept + 1))
        wanted = sorted(drawn, key=lambda s: -s["consistency_db"])[:kept]
        assert [(s["index"], s["consistency_db"]) for s in samples] == [
            (s["index"], s["consistency_db"]) for s in wanted
        ]
        assert {s["log_prob"] for s in samples} == {None}


@pytest.mark.parametrize(
    "arguments", [("--keep", 2), ("--order", "likelihood"), ("--keep", 1, "--order", "likelihood")], ids=str
)
def test_what_needs_a_likelihood_is_refused_before_anything_is_drawn(draw, arguments: tuple[object, ...]) -> None:
    result, _ = draw(*arguments, expected=2)
    assert "no likelihood" in result.err and "--order consistency" in result.err and not Path("out").exists()


def test_keeping_all_samples_needs_no_order(draw) -> None:
    assert len(draw("--samples", 2, "--keep", 2)[1]["samples"]) == 2


def test_rank_is_refused(draw, cflow, weight: Path) -> None:
    draw("--samples", 2)
    result = cflow("rank", "img.png", "out/img/01.png", "--task", "super-resolve", "--model", weight)
    assert result.code == 2 and result.out == "" and "no likelihood" in result.err


def test_evaluate_reports_no_most_likely_sample_and_no_bits(cflow, weight: Path, photo: Photo) -> None:
    Path("data").mkdir()
    photo(Path("data/a.png"), 40, 40)
    result = cflow("evaluate", "super-resolve", "--data", "data", "--model", weight, "--samples", 2, "--json")
    [value] = result.objects
    assert result.code == 0 and {*value["results"]} == {"temp0", "mean", "bicubic"} and "bits_per_dim" not in value


def test_tiles_share_the_images_vector(draw, cflow, weight: Path, photo: Photo) -> None:
    photo(Path("wide.png"), 60, 200)
    outs = ["whole", "cut"]
    for out, tile in zip(outs, ("off", "150"), strict=True):
        result = cflow("super-resolve", "wide.png", "--model", weight, "--samples", 1, "--tile", tile, "-o", out)
        assert result.code == 0
    whole, cut = (images.read(Path(out, "wide.png")).pixels.astype(int) for out in outs)
    assert abs(whole - cut).max() <= 1


def test_training_resumes_to_the_same_weight_that_the_command_can_use(cflow, photo: Photo) -> None:
    Path("data").mkdir()
    for seed in range(4):
        photo(Path(f"data/{seed}.png"), 24, 24, seed)
    Path("blind.toml").write_text(RECIPE, encoding="utf-8")
    train = ("train", "super-resolve", "--data", "data", "--recipe", "blind.toml", "--device", "cpu", "--quiet")
    assert cflow(*train, "--out", "whole").code == 0
    assert [cflow(*train, "--out", "parts", *more).code for more in (("--steps", 2), ("--resume",))] == [0, 0]
    first, second = (weights.load(Path(out, "weights.safetensors")) for out in ("whole", "parts"))
    assert first.card.tensors_sha256 == second.card.tensors_sha256
    photo(Path("img.png"))
    assert cflow("super-resolve", "img.png", "--model", "whole/weights.safetensors", "-o", "result").code == 0
    assert len(list(Path("result/img").glob("0*.png"))) == 3
