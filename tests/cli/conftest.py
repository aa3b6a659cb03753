"""Running cflow inside the tests' own process."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cflowtool import images
from cflowtool.cli.main import run
from tests.forked import Forks, forking


@dataclass
class Result:
    """What a command line gave."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """Return the JSON objects on stdout, one a line, nothing else being there."""
        return [json.loads(line) for line in self.out.splitlines()]


Cflow = Callable[..., Result]


@pytest.fixture
def cflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cflow:
    """A function that runs one command line in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Result:
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        return Result(code, *capfd.readouterr())

    return call


@pytest.fixture
def upscale(cflow: Cflow, tiny_weight: Path) -> Cflow:
    """A function that runs cflow super-resolve with the tiny weight."""

    def call(*arguments: object) -> Result:
        return cflow("super-resolve", *arguments, "--model", tiny_weight)

    return call


@pytest.fixture
def restore(cflow: Cflow, small_weights: dict[str, Path]) -> Cflow:
    """A function that runs the command of a task with its small weight."""

    def call(task: str, *arguments: object) -> Result:
        return cflow(task, *arguments, "--model", small_weights[task], "--device", "cpu")

    return call


@pytest.fixture
def fundus() -> Callable[..., Path]:
    """A function that writes a disc with dark lines on black, as photographs of the retina are."""

    def write(path: Path, side: int = 120, grey: bool = False) -> Path:
        axis = np.arange(side) - (side - 1) / 2
        inside = (axis[:, None] ** 2 + axis**2) ** 0.5 < 0.45 * side
        line = np.abs(axis) % max(1, side // 4) < 2
        value = np.where(inside, np.where(line, 90, 160), 0).astype(np.uint8)[..., None]
        images.write(path, images.Picture(value if grey else np.concatenate([value, value // 2, value // 3], 2)))
        return path

    return write


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    """Runs of the command as processes of their own."""
    with forking() as found:
        yield found
