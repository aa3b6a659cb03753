"""The command as a whole: startup, exit codes, signals."""

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from cflowtool import __version__
from cflowtool.cli import main, process
from cflowtool.errors import CflowError, Diverged, ExitCode, NoLikelihood, OutputError, WeightsError

ROOT = Path(__file__).parent.parent.parent
COMMAND = [sys.executable, "-c", "from cflowtool.cli.main import main; main()"]


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys; from cflowtool.cli.main import run\n"
        "for words in (['--help'], ['super-resolve', '--help'], ['train', '--help']): assert run(words) == 0\n"
        "print({'torch', 'numpy', 'cv2'} & set(sys.modules), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stderr.strip() == "set()"


def test_help_is_fast() -> None:
    # Processor time, since wall time says more about what else the machine is doing.
    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*COMMAND, "--help"], cwd=ROOT, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 0.3


def test_version(cflow) -> None:
    assert cflow("--version").out == f"cflow {__version__}\n"


@pytest.mark.parametrize("words", [[], ["frobnicate"], ["super-resolve"], ["super-resolve", "--no-such", "x"]])
def test_usage_errors(cflow, words: list[str]) -> None:
    result = cflow(*words)
    assert (result.code, result.out) == (2, "" if words else result.out)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NoLikelihood("a", "b"), 2),
        (WeightsError("a", "b"), 3),
        (OutputError("a", "b"), 4),
        (Diverged("a", "b"), 5),
        (CflowError("a", "b"), 70),
        (RuntimeError("a\x1b[0m"), 70),
        (KeyboardInterrupt(), 130),
        (process.Terminated(), 143),
        (typer.Exit(ExitCode.SOME_FAILED), 1),
    ],
)
def test_exit_codes(cflow, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("cflowtool.cli.doctor._versions", fail)
    result = cflow("doctor")
    assert result.code == code
    assert "\x1b" not in result.err and "Traceback" not in result.err
    if code in (70, 3):
        assert "Traceback" in cflow("doctor", "--debug").err


def test_sigterm_ends_with_143() -> None:
    code = """
import time
from cflowtool.cli import main

def wait(*_, **__):
    print("ready", flush=True)
    time.sleep(60)

main.typer.main.get_command = lambda app: type("Command", (), {"main": wait})
main.main()
"""
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None and child.stdout.readline() == b"ready\n"
    child.send_signal(signal.SIGTERM)
    _, err = child.communicate(timeout=20)
    assert (child.returncode, err.count(b"\n"), b"interrupted" in err) == (143, 2, True)


def test_a_reader_that_goes_away_does_not_stop_the_work() -> None:
    code = "from cflowtool.cli import console\nfor k in range(9999): console.emit({'k': k})\nraise SystemExit(7)"
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None and json.loads(child.stdout.readline()) == {"k": 0}
    child.stdout.close()
    _, err = child.communicate(timeout=20)
    assert (child.returncode, err) == (7, b"")


@pytest.mark.parametrize("code", [ExitCode.OK, ExitCode.SOME_FAILED, ExitCode.OUTPUT, ExitCode.INTERRUPTED])
def test_main_exits_with_the_code_of_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: ExitCode
) -> None:
    monkeypatch.setattr(main, "run", lambda: code)
    monkeypatch.setattr(process, "prepare", lambda: None)
    ways: list[tuple[str, int]] = []
    for way in ("leave", "end"):
        monkeypatch.setattr(process, way, lambda code, way=way: ways.append((way, code)))
    main.main()
    assert ways[0] == ("end" if code < ExitCode.OUTPUT else "leave", code)
    assert ("interrupted" in capsys.readouterr().err) == (code == ExitCode.INTERRUPTED)
