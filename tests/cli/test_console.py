"""Messages: stdout is for JSON, names are escaped, nothing is markup."""

from pathlib import Path

import pytest

from cflowtool.cli import console
from cflowtool.errors import InputError, OutputError


def test_failures_are_two_lines_or_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    errors = [InputError(f"{name}.png: damaged", "look") for name in "abc"]
    console.list_failures([], 3)
    console.list_failures(errors[:1], 3)
    console.list_failures(errors, 3)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["cflow: a.png: damaged", "  try: look"]
    assert lines[2:] == ["cflow: 3 of 3 inputs failed", *(f"  {name}.png: damaged" for name in "abc"), "  try: look"]


def test_a_table_shows_names_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    console.table("t", ("name", "n"), [("[red]x[/red]\x1b[0m", 1)])
    console.table("t", ("name", "n"), [("y", 1)], quiet=True)
    shown = capsys.readouterr()
    assert shown.out == "" and "[red]x[/red]\\x1b[0m" in shown.err and "y" not in shown.err


def test_emit_refuses_what_is_not_json(capsys: pytest.CaptureFixture[str]) -> None:
    console.emit({"name": "\udc80ä"})
    assert capsys.readouterr().out == '{"name": "\\udc80\\u00e4"}\n'
    with pytest.raises(ValueError, match="JSON"):
        console.emit({"x": float("nan")})


def test_no_progress_without_a_terminal() -> None:
    assert console.progress(console.console()).disable


def test_a_summary_of_several(capsys: pytest.CaptureFixture[str]) -> None:
    counts = {"done": 6, "skipped": 0, "failed": 1, "pending": 0}
    console.summarise(counts, 2.0)
    console.summarise(counts, 2.0, quiet=True)
    console.summarise({"done": 1, "failed": 0}, 2.0)
    console.summarise({"done": 0, "skipped": 2}, 0.0)
    lines = ["7 inputs: 6 done, 1 failed; 2.0 s, 3.00 images/s", "2 inputs: 0 done, 2 skipped; 0.0 s"]
    assert capsys.readouterr().err.splitlines() == lines


def test_no_room_on_stdout_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr("sys.stdout", full)
        with pytest.raises(OutputError, match="No space"):
            console.emit({"k": 1})
