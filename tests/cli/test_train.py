"""cflow train."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from cflowtool import weights
from cflowtool.cli.train import Screen, duration
from cflowtool.errors import UsageError

pytestmark = pytest.mark.skipif(importlib.util.find_spec("accelerate") is None, reason="needs accelerate")


@pytest.mark.parametrize(
    ("text", "seconds"), [(None, None), ("90m", 5400), ("1h30m", 5400), ("300s", 300), ("0.5h", 1800)]
)
def test_durations(text: str | None, seconds: float | None) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "m", "1h 30m", "-3m"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match="no time"):
        duration(text)


@pytest.fixture
def command(photo: Callable[..., Path], cflow, tiny_recipe: str) -> list[str]:
    """A command line that trains a tiny model on eight small pictures."""
    Path("photos").mkdir()
    for number in range(8):
        photo(Path("photos", f"{number}.png"), 24, 28, number)
    Path("tiny.toml").write_text(tiny_recipe)
    return ["train", "super-resolve", "--data", "photos", "--recipe", "tiny.toml", "--device", "cpu", "-o", "run"]


def test_a_run_ends_with_a_weight(cflow, command: list[str]) -> None:
    result = cflow(*command, "--steps", 2, "--json")
    [value] = result.objects
    assert (result.code, value["steps"]) == (0, 2)
    assert (
        "7 photographs to train on, 1 held out" in result.err and "cflow super-resolve INPUT --model run/" in result.err
    )
    loaded = weights.load(Path("run/weights.safetensors"))
    assert (loaded.card.steps, loaded.card.data[0].name) == (2, "photos")
    assert cflow(*command, "--steps", 3).code == 2
    assert cflow(*command, "--steps", 3, "--resume").code == 0
    assert weights.read_card(Path("run/weights.safetensors")).steps == 3


def test_a_run_may_start_from_a_weight(cflow, command: list[str], tiny_weight: Path) -> None:
    assert cflow(*command, "--init", tiny_weight, "--max-time", "60s").code == 0
    assert weights.read_card(Path("run/weights.safetensors")).steps == 4


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["train", "dream", "--data", "photos"], 2),
        (["train", "super-resolve"], 2),
        (["train", "super-resolve", "--data", "nowhere", "--recipe", "tiny.toml"], 2),
        (["train", "super-resolve", "--data", "photos/0.png", "--recipe", "tiny.toml"], 2),
        (["train", "super-resolve", "--data", "photos", "--recipe", "nonsense"], 3),
        (["train", "super-resolve", "--data", "photos", "--max-time", "soon"], 2),
        (["train", "super-resolve", "--data", "photos", "--init", "nonsense"], 3),
        (["train", "super-resolve", "--data", "photos", "--device", "cuda"], 2),
    ],
)
def test_expected_errors(cflow, command: list[str], words: list[str], code: int) -> None:
    result = cflow(*words)
    assert (result.code, len(result.err.splitlines())) == (code, 2)


def test_a_task_that_learns_masks_says_which_photograph_has_none_and_where_to_put_it(
    cflow, photo: Callable[..., Path], command: list[str], tiny_recipe: str
) -> None:
    text = tiny_recipe.replace("super-resolve", "segment").replace("{ scale = 2 }", "{}").replace("bicubic", "none")
    Path("tiny.toml").write_text(text.replace("scale = 2", "scale = 1\nchannels = 1"))
    words = ["train", "segment", *command[2:], "--steps", "1"]
    result = cflow(*words)
    assert result.code == 2 and "no mask for photos/0.png" in result.err and "masks/" in result.err
    for number in range(8):
        photo(Path("photos", "masks", f"{number}.png"), 24, 28)
    assert cflow(*words).code == 0
    assert weights.read_card(Path("run/weights.safetensors")).recipe.task.name == "segment"


def test_the_screen_says_loss_quality_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(quiet=False, limit=1000)
    screen.observe({"event": "validate", "step": 10, "psnr": 36.5})
    for step, seconds in ((1, 1.0), (50, 50.0)):
        screen.observe({"event": "train", "step": step, "steps": 4000, "seconds": seconds, "loss": 2.5})
    shown = capsys.readouterr().err
    assert "validation: psnr 36.5" in shown
    assert "step 50 of 4000, loss 2.500, PSNR 36.50 dB, 0:15:50 left" in shown
