"""A training run that is killed anywhere goes on as if nothing had happened."""

import errno
import functools
import os
import random
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

pytest.importorskip("accelerate")
if not hasattr(os, "fork"):
    pytest.skip("needs fork", allow_module_level=True)

from accelerate.state import AcceleratorState

import cflowtool.trainer
from cflowtool import checkpoint, recipes
from cflowtool.cli import process
from cflowtool.cli.main import run as command_line
from cflowtool.cli.train import Screen
from cflowtool.trainer import Trainer, TrainOptions

STEPS = 6
# The fsync of every save, then three renames: to its name, the old one out of the way, the new one in its place.
POINTS = 4
State = tuple[dict[str, Tensor], int, bool]


@pytest.fixture(autouse=True)
def fresh_accelerator() -> Iterator[None]:
    """Accelerate keeps its precision for the life of a process."""
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)


@pytest.fixture(scope="module")
def recipe(tiny_recipe: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    text = tiny_recipe.replace("steps = 4", f"steps = {STEPS}\nmean_steps = 2")
    path.write_text(text.replace('shift = "bicubic"', 'shift = "mean"\nmean_weight = 20.0'))
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(4):
        coarse = np.random.default_rng(seed).integers(0, 256, (6, 5, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((20, 24), Image.Resampling.BICUBIC).save(folder / f"{seed}.png")
    return folder


@pytest.fixture(scope="module")
def straight(recipe: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> State:
    """The state that a run ends in which nothing happened to."""
    folder = tmp_path_factory.mktemp("straight")
    train(recipe, photos, folder)
    return state_of(folder)


def train(
    recipe: Path, photos: Path, out: Path, observe: Callable[[dict[str, Any]], None] = lambda event: None
) -> None:
    """Begin or go on, saving after every step, and run to the end."""
    told = TrainOptions([photos], out, resume=True, device="cpu", save_every=0.0)
    Trainer(recipes.load(str(recipe)), told, observe).run()


def state_of(folder: Path) -> State:
    """Model, average and optimizer, and the place in the run."""
    tensors, state = checkpoint.read(folder / checkpoint.NAME)
    return tensors, state.step, state.warm


def assert_equal(first: State, second: State) -> None:
    assert first[1:] == second[1:] and first[0].keys() == second[0].keys()
    assert [key for key in first[0] if not torch.equal(first[0][key], second[0][key])] == []


def in_a_child(work: Callable[[], int | None]) -> int:
    """Run something in a process of its own and return how that ended: its exit code, or minus the signal."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            code = work() or 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die_at(point: int) -> None:
    """Make this process kill itself at the n-th file operation of its saves, an fsync with half of the file there."""
    passed, fsync, replace = [0], os.fsync, Path.replace

    def pass_on() -> bool:
        passed[0] += 1
        return passed[0] > point

    def halved(descriptor: int) -> None:
        if pass_on():
            os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(descriptor)

    def refused(self: Path, target: Path) -> Path:
        if pass_on():
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, target)

    os.fsync, Path.replace = halved, refused  # type: ignore[method-assign, assignment]


@pytest.mark.parametrize("point", range(2 * POINTS + 3))
def test_a_run_killed_in_a_save_ends_where_a_straight_one_does(
    point: int, recipe: Path, photos: Path, straight: State, tmp_path: Path
) -> None:
    def work() -> None:
        die_at(point)
        train(recipe, photos, tmp_path)

    assert in_a_child(work) == -signal.SIGKILL
    found = checkpoint.newest(tmp_path)
    assert (found[1].step if found else 0) in (point // POINTS, point // POINTS + 1)
    train(recipe, photos, tmp_path)
    assert_equal(state_of(tmp_path), straight)
    assert sorted(path.name for path in tmp_path.glob("[.c]*")) == [checkpoint.PREVIOUS, checkpoint.NAME]


@pytest.mark.parametrize("seed", [0, 1])
def test_a_run_killed_again_and_again_ends_where_a_straight_one_does(
    seed: int, recipe: Path, photos: Path, straight: State, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    for _ in range(30):
        point = chance.randrange(2, 3 * POINTS)

        def work(point: int = point) -> None:
            die_at(point)
            train(recipe, photos, tmp_path)

        if (code := in_a_child(work)) == 0:
            break
        assert code == -signal.SIGKILL
    assert_equal(state_of(tmp_path), straight)


def test_a_damaged_checkpoint_costs_its_steps_and_is_said(
    recipe: Path, photos: Path, straight: State, tmp_path: Path
) -> None:
    def kill(event: dict[str, Any]) -> None:
        if event["step"] == 5:
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_a_child(lambda: train(recipe, photos, tmp_path, kill)) == -signal.SIGKILL
    newest = tmp_path / checkpoint.NAME
    newest.write_bytes(newest.read_bytes()[:-100])
    events: list[dict[str, Any]] = []
    train(recipe, photos, tmp_path, events.append)
    assert events[0]["event"] == "note" and "step 3" in events[0]["text"]
    assert [event["step"] for event in events[1:]] == [4, 5, 6]
    assert_equal(state_of(tmp_path), straight)


def command(recipe: Path, photos: Path, out: Path) -> list[str]:
    return ["train", "super-resolve", "--data", str(photos), "--recipe", str(recipe), "--device", "cpu", "-o", str(out)]


def test_sigterm_saves_and_the_command_goes_on_with_the_same_bytes(recipe: Path, photos: Path, tmp_path: Path) -> None:
    def work() -> int:
        observe = Screen.observe

        def stop(self: Screen, event: dict[str, Any]) -> None:
            observe(self, event)
            if event.get("step") == 3:
                os.kill(os.getpid(), signal.SIGTERM)

        Screen.observe = stop  # type: ignore[method-assign]
        process.prepare()
        return command_line(command(recipe, photos, tmp_path / "parts"))

    assert in_a_child(work) == 143
    assert state_of(tmp_path / "parts")[1] == 3
    assert command_line([*command(recipe, photos, tmp_path / "parts"), "--resume"]) == 0
    assert command_line(command(recipe, photos, tmp_path / "whole")) == 0
    parts, whole = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("parts", "whole"))
    assert parts == whole


def full() -> None:
    """Make every file after this one too large."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def refusing() -> None:
    """Make the disk refuse whatever is to be kept."""

    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    os.fsync = refuse


@pytest.mark.parametrize("fill", [full, refusing])
@pytest.mark.parametrize("step", [1, 3, STEPS])
def test_a_full_disk_ends_the_run_with_exit_code_4_and_the_saved_steps_whole(
    step: int, fill: Callable[[], None], recipe: Path, photos: Path, straight: State, tmp_path: Path
) -> None:
    def work() -> int:
        def observe(self: Screen, event: dict[str, Any]) -> None:
            if event.get("step") == step:
                fill()

        Screen.observe = observe  # type: ignore[method-assign]
        cflowtool.trainer.TrainOptions = functools.partial(TrainOptions, save_every=0.0)  # type: ignore[misc, assignment]
        return command_line(command(recipe, photos, tmp_path))

    assert in_a_child(work) == 4
    found = checkpoint.newest(tmp_path)
    assert (found[1].step if found else 0) == step - 1
    assert not list(tmp_path.glob(".*")) and not list(tmp_path.glob("*damaged*"))
    train(recipe, photos, tmp_path)
    assert_equal(state_of(tmp_path), straight)


def test_a_loss_that_is_not_finite_ends_the_run_with_exit_code_5(recipe: Path, photos: Path, tmp_path: Path) -> None:
    wild = tmp_path / "wild.toml"
    wild.write_text(recipe.read_text().replace("warm_up = 1", "warm_up = 0\nlearning_rate = 1e30"))
    assert command_line(command(wild, photos, tmp_path / "run")) == 5
    assert not (tmp_path / "run" / "weights.safetensors").exists()
