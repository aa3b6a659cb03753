"""Running cflow inside the tests' own process."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cflowtool.cli.main import run


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
