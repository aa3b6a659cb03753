"""ruff on the checkout and strict mypy on cflowtool find nothing."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(("tool", "arguments"), [("ruff", ["check", "."]), ("mypy", [])])
def test_nothing_found(tool: str, arguments: list[str]) -> None:
    if find_spec(tool) is None:
        pytest.skip(f"{tool} is not installed (it is in the dev extra)")
    command = [sys.executable, "-m", tool, *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
