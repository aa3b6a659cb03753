"""What is said of a run, and the exit code that it ends with."""

import json
from pathlib import Path

import pytest

from cflowtool.batch import Job, Outcome
from cflowtool.cli import console
from cflowtool.cli.account import Account, as_object, exit_code, line
from cflowtool.cli.process import Terminated
from cflowtool.errors import InputError, NoLikelihood, OutputError, WeightsError

JOBS = [Job(Path(f"{name}.png"), Path(name)) for name in "abc"]
DONE = Outcome(JOBS[0], "done", Path("out/a.png"), 1.25, {"seed": 3}, notes=["\x1bnote"], sha256="0" * 64)
SKIPPED = Outcome(JOBS[1], "skipped", Path("out/b/samples.json"), sha256="0" * 64)
FAILED = Outcome(JOBS[1], "failed", Path("out/b.png"), error=InputError("b.png: gone", "look", "missing"))
FULL = OutputError("out/c.png: cannot be written", "tidy up")


def test_lines_are_escaped_and_say_where_the_result_is() -> None:
    assert line(DONE) == "a.png -> out/a.png (1.2 s)\n  note: \\x1bnote"
    assert line(SKIPPED) == "b.png: finished before (out/b)"
    assert "standard output" in line(Outcome(JOBS[0], "done", Path("-/a.png")))
    linked = Outcome(JOBS[0], "skipped", Path("out/a.png"), notes=["in/loop: a symlink"])
    assert line(linked) == "a.png: skipped; in/loop: a symlink"


def test_objects_say_the_status_first_and_the_code_of_an_error() -> None:
    done, failed = as_object(DONE), as_object(FAILED)
    assert next(iter(done)) == next(iter(failed)) == "status" and done["seed"] == 3
    assert failed["error"] == {"code": "missing", "what": "b.png: gone", "hint": "look"}
    assert failed["input"]["name"] == "b.png" and "error" not in as_object(SKIPPED)


@pytest.mark.parametrize(
    ("ended", "failed", "code"),
    [
        (None, False, 0), (None, True, 1), (NoLikelihood("", ""), True, 2), (WeightsError("", ""), False, 3),
        (FULL, False, 4), (RuntimeError(), True, 70), (KeyboardInterrupt(), True, 130), (Terminated(), False, 143),
    ],
)  # fmt: skip
def test_exit_codes(ended: BaseException | None, failed: bool, code: int) -> None:
    assert exit_code(ended, failed) == code


def account(json: bool = False, quiet: bool = False) -> Account:
    return Account(JOBS, console.console(quiet), json)


def test_the_summary_stands_before_the_failures(capsys: pytest.CaptureFixture[str]) -> None:
    told = account()
    told.add(DONE)
    told.add(FAILED)
    assert told.close(KeyboardInterrupt()) == 130
    said = capsys.readouterr()
    assert said.out == ""
    first, note, summary, *failures = said.err.splitlines()
    assert first.startswith("a.png -> ") and "note" in note
    assert summary.startswith("3 inputs: 1 done, 1 failed, 1 pending; ")
    assert failures == ["cflow: b.png: gone", "  try: look"]


def test_quiet_leaves_the_errors(capsys: pytest.CaptureFixture[str]) -> None:
    told = account(quiet=True)
    told.add(DONE)
    told.add(FAILED)
    assert told.close(None) == 1
    assert capsys.readouterr().err.splitlines() == ["cflow: b.png: gone", "  try: look"]


def test_what_stopped_a_run_is_the_next_inputs_failure_and_is_told_of_by_the_command(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    told = account(json=True)
    told.add(DONE)
    assert told.close(FULL) == 4
    said = capsys.readouterr()
    assert [json.loads(line)["status"] for line in said.out.splitlines()] == ["done", "failed"]
    assert "cannot be written" not in said.err
    told.report(tmp_path, {"task": "t"}, None, FULL)
    value = json.loads((tmp_path / "report.json").read_text())
    assert (value["planned"], value["exit_code"], value["pending"]) == (3, 4, 1)
    assert [each.get("code") for each in value["inputs"]] == [None, "output", None]


def test_a_report_without_room_is_the_error_unless_there_is_one_already(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    told = account()
    with pytest.raises(OutputError):
        told.report(tmp_path / "file", {}, None, None)
    told.report(tmp_path / "file", {}, None, FULL)
    assert "report.json" in capsys.readouterr().err
