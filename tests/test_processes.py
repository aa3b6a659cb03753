"""Two processes train as one does."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("accelerate")

from accelerate import Accelerator
from safetensors.torch import load_file

from cflowtool.cli.main import run as command_line
from cflowtool.cli.train import Screen
from cflowtool.errors import UsageError
from cflowtool.processes import Share, agreed

ROOT = Path(__file__).parent.parent
# The command, telling the loss of every step where it shows a bar otherwise.
SCRIPT = """
import json, sys
from cflowtool.cli import train
from cflowtool.cli.main import run
train.Screen.observe = lambda self, event: print(json.dumps(event), flush=True)
sys.exit(run(sys.argv[1:]))
"""


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.mark.parametrize("draw", [
    lambda rows, g: torch.rand((rows, 3, 2), generator=g),
    lambda rows, g: torch.randn(rows, 3, generator=g, dtype=torch.float64),
    lambda rows, g: torch.rand(torch.Size([rows]), generator=g, device="cpu"),
    lambda rows, g: torch.cat([torch.randn(rows, 1, generator=g), torch.rand(rows, 1, generator=g)], 1),
])  # fmt: skip
@pytest.mark.parametrize("count", [1, 2, 4])
def test_shares_are_the_rows_of_what_one_process_draws(
    draw: Callable[[int, torch.Generator], torch.Tensor], count: int
) -> None:
    shares = []
    for index in range(count):
        with Share(index, count):
            shares.append(draw(8 // count, generator()))
    assert torch.equal(torch.cat(shares), draw(8, generator()))


def test_what_is_no_batch_of_draws_is_left_alone() -> None:
    with Share(1, 2):
        alone = torch.rand((), generator=generator()), torch.zeros(4), torch.randint(9, (4,), generator=generator())
        torch.manual_seed(0)
        free = torch.rand(4)
    torch.manual_seed(0)
    expected = torch.rand((), generator=generator()), torch.zeros(4), torch.randint(9, (4,), generator=generator())
    assert all(torch.equal(a, b) for a, b in zip(alone, expected, strict=True)) and torch.equal(free, torch.rand(4))


def test_a_batch_is_dealt_out_evenly_or_not_at_all() -> None:
    batch = torch.arange(6)
    assert torch.equal(torch.cat([Share(i, 3).rows(batch) for i in range(3)]), batch)
    with pytest.raises(UsageError, match="4 processes"):
        Share(0, 4).rows(batch)


def test_one_process_goes_by_its_own_clock() -> None:
    assert agreed(Accelerator(cpu=True), 1.25, 15) == (1.25, 15)


def launched(words: list[str]) -> list[dict[str, Any]]:
    """What a command line tells in two processes, of which the first one alone tells anything."""
    # The launcher's name for one process a device; --device cpu makes the devices CPUs, which talk through gloo.
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2"]
    launch += ["--num_machines=1", "--main_process_port=0", "--mixed_precision=no", "--dynamo_backend=no"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*launch, *words], env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_two_processes_have_the_loss_curve_of_one(
    tiny_recipe: str, photo: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, recipe, photos = tmp_path / "script.py", tmp_path / "tiny.toml", tmp_path / "photos"
    script.write_text(SCRIPT)
    text = tiny_recipe.replace("steps = 4", "steps = 6\nmean_steps = 2").replace("batch = 2", "batch = 4")
    recipe.write_text(text.replace('shift = "bicubic"', 'shift = "mean"\nmean_weight = 20.0'))
    photos.mkdir()
    for number in range(8):
        photo(photos / f"{number}.png", 24, 28, number)
    words = ["train", "super-resolve", "--data", str(photos), "--recipe", str(recipe), "--device", "cpu", "--quiet"]
    one: list[dict[str, Any]] = []
    monkeypatch.setattr(Screen, "observe", lambda self, event: one.append(event))
    assert command_line([*words, "--out", str(tmp_path / "one")]) == 0
    two = launched([str(script), *words, "--out", str(tmp_path / "two")])
    assert [event["step"] for event in two] == [event["step"] for event in one] == [1, 2, 3, 4, 5, 6]
    assert [e["loss"] for e in two] == pytest.approx([e["loss"] for e in one], rel=1e-4, abs=1e-4)
    first, second = (load_file(tmp_path / name / "weights.safetensors") for name in ("one", "two"))
    assert first.keys() == second.keys()
    assert all(torch.allclose(first[key].double(), second[key].double(), atol=2e-3) for key in first)
    assert (tmp_path / "two" / "metrics.jsonl").read_text().count("\n") == 1
