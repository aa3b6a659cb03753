"""Whatever paper a model is of, train makes it, resumes it to the same tensors, and every command takes it at once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cflowtool import weights

Photo = Callable[..., Path]

RECIPE = """
name = "small"
[task]
name = "{task}"
{options}
[model]
name = "{model}"
[model.config]
{config}
[train]
steps = 4
batch = 2
crop = 16
warm_up = 1
decay = 0.0
precision = "fp32"
[defaults]
samples = 2
temperature = 0.7
"""
FLOWS = "condition_steps = 1\ntarget_steps = 1\nsteps = 1\nwidth = 4\nconditional_width = 4\nscales = 2\nscale = 2\n"
CONDITIONAL = "conditioning_channels = 4\nconditioning_width = 8\ncoupling_channels = 4\nwidth = 8\nsteps = 1\n"
CONFIGS = {
    "cnf": "scale = 2\nlevels = 1\nsteps = 1\nwidth = 4\ntrunk_channels = 4\nblocks = 1\ngrowth = 0\n",
    "caflow": FLOWS + 'dequantization = "variational"\n',
    "cglow": CONDITIONAL + "scale = 2\nlevels = 2\nsize = [8, 8]\n",
}


@pytest.fixture(params=CONFIGS)
def trained(request: pytest.FixtureRequest, cflow, photo: Photo) -> Path:
    """A weight of each paper after four steps, the run having been stopped and resumed in their middle."""
    for seed in range(4):
        Path("data").mkdir(exist_ok=True)
        photo(Path(f"data/{seed}.png"), 40, 44, seed)
    text = RECIPE.format(
        task="super-resolve", options="options = { scale = 2 }", model=request.param, config=CONFIGS[request.param]
    )
    Path("small.toml").write_text(text, encoding="utf-8")
    train = ("train", "super-resolve", "--data", "data", "--recipe", "small.toml", "--device", "cpu", "--quiet")
    for out, lengths in {"whole": (4,), "halves": (2, 4)}.items():
        for steps in lengths:
            result = cflow(*train, "--out", out, "--steps", steps, "--resume")
            assert result.code == 0, result.err
    whole, halves = (weights.load(Path(out, "weights.safetensors")).card for out in ("whole", "halves"))
    assert whole.tensors_sha256 == halves.tensors_sha256 and whole.steps == halves.steps == 4
    return Path("halves/weights.safetensors")


def test_a_weight_of_any_paper_serves_every_command(trained: Path, cflow, photo: Photo) -> None:
    model = ("--model", trained, "--device", "cpu")
    photo(Path("img.png"), 17, 22)
    drawn = cflow("super-resolve", "img.png", "--samples", 3, "--keep", 2, "--mean", "-o", "out", "--json", *model)
    assert drawn.code == 0, drawn.err
    samples = drawn.objects[0]["samples"]
    assert [s["rank"] for s in samples] == [1, 2] and samples[0]["log_prob"] > samples[1]["log_prob"]
    found = cflow("rank", "img.png", "out/img/01.png", "out/img/02.png", "--task", "super-resolve", "--json", *model)
    assert found.code == 0 and len(found.objects[0]["candidates"]) == 2, found.err
    measured = cflow("evaluate", "super-resolve", "--data", "data", "--limit", 1, "--json", *model)
    assert measured.code == 0, measured.err
    assert measured.objects[0]["protocol"]["samples"] == 2 and measured.objects[0]["protocol"]["temperature"] == 0.7
    assert measured.objects[0]["bits_per_dim"] > 0 and "coverage" in measured.objects[0]


def test_a_task_without_a_recipe_of_its_own_names_those_there_are(cflow, photo: Photo) -> None:
    Path("data").mkdir()
    photo(Path("data/a.png"), 40, 40)
    result = cflow("train", "decompress", "--data", "data", "--out", "run")
    assert result.code == 2 and "tim-decompress-paper" in result.err
