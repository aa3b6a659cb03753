"""python -m cflowtool is cflow."""

import subprocess
import sys


def test_the_module_runs_the_command() -> None:
    run = subprocess.run([sys.executable, "-m", "cflowtool", "--version"], capture_output=True, text=True, check=True)
    assert run.stdout.strip()
