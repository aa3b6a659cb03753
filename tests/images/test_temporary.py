"""Temporary files: gone in the end, known to be dead or alive."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cflowtool.errors import OutputError
from cflowtool.images import write_bytes
from cflowtool.images.temporary import PREFIX, SUFFIX, discard, sweep, temporary


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_is_gone_in_the_end_unless_it_was_renamed(tmp_path: Path) -> None:
    with temporary(tmp_path) as (path, file):
        file.write(b"x")
    with pytest.raises(KeyError), temporary(tmp_path):
        raise KeyError
    assert names(tmp_path) == []
    with temporary(tmp_path) as (path, file):
        path.replace(tmp_path / "kept")
    assert names(tmp_path) == ["kept"]


def test_only_what_nobody_writes_is_swept(tmp_path: Path) -> None:
    dead = tmp_path / f"{PREFIX}0123456789abcdef{SUFFIX}"
    others = [tmp_path / f"{PREFIX}mine.txt", tmp_path / f"other{SUFFIX}", tmp_path / f"{PREFIX}link{SUFFIX}"]
    for path in (dead, *others[:2]):
        path.touch()
    others[2].symlink_to(others[0])
    os.mkfifo(tmp_path / f"{PREFIX}pipe{SUFFIX}")
    with temporary(tmp_path) as (alive, _):
        assert sweep(tmp_path) == [dead]
        assert {alive, *others} <= set(tmp_path.iterdir())
    assert sweep(tmp_path / "none") == []


def test_what_another_process_writes_is_alive_until_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from cflowtool.images.temporary import temporary\n"
        "with temporary(Path(sys.argv[1])):\n    print('ready', flush=True)\n    time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert child.stdout is not None and child.stdout.readline() == b"ready\n"
    assert sweep(tmp_path) == [] and len(names(tmp_path)) == 1
    child.kill()
    child.wait()
    child.stdout.close()
    assert len(sweep(tmp_path)) == 1 and names(tmp_path) == []


def test_a_process_in_a_hurry_removes_its_own(tmp_path: Path) -> None:
    other = tmp_path / f"{PREFIX}0123456789abcdef{SUFFIX}"
    other.touch()
    with temporary(tmp_path):
        discard()
        assert names(tmp_path) == [other.name]


def test_of_two_that_write_one_name_the_first_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = os.fsync

    def meanwhile(descriptor: int) -> None:
        monkeypatch.setattr(os, "fsync", original)
        write_bytes(tmp_path / "a", b"first")

    monkeypatch.setattr(os, "fsync", meanwhile)
    with pytest.raises(OutputError, match="exists already"):
        write_bytes(tmp_path / "a", b"second")
    assert (tmp_path / "a").read_bytes() == b"first" and names(tmp_path) == ["a"]
