"""What a run leaves when it is interrupted, killed, or has no room: whole files, and what the next run needs."""

import errno
import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cflowtool import images
from tests.forked import Forks

Photo = Callable[..., Path]
LONG = """
import sys, torch
from cflowtool.restorer import Restorer
seen, restore = [], Restorer.restore
def slow(self, *given):
    seen.append(given)
    if len(seen) == 3:
        print("in the middle", file=sys.stderr, flush=True)
        torch.linalg.svd(torch.randn(4000, 4000))
    return restore(self, *given)
Restorer.restore, Restorer.group = slow, lambda *_: None
"""


def files(folder: Path) -> dict[str, bytes]:
    """Return what is in a folder and below, by name."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def ten(tmp_path: Path, photo: Photo) -> Path:
    """A folder to work in, with ten small images of different sizes in it."""
    folder = tmp_path / "work"
    (folder / "in/sub").mkdir(parents=True)
    for k in range(10):
        photo(folder / f"in/{'sub/' if k % 3 else ''}{k}.png", 12 + k, 14, seed=k)
    return folder


def command(weight: Path, *more: object) -> list[object]:
    """Return the words of a run over the ten."""
    return ["super-resolve", "in", "-r", "--model", weight, "--samples", 2, *more]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_within_seconds_inside_one_long_operation(
    forks: Forks, ten: Path, tiny_weight: Path, number: int, code: int
) -> None:
    run = forks.start(ten, command(tiny_weight, "--report"), LONG)
    run.wait_for("in the middle")
    run.wait_for("in/0.png -> ")
    sent = run.signal(number)
    assert run.wait() == code and time.perf_counter() - sent < 3
    assert forks.left() == []
    report = json.loads((ten / "out/report.json").read_text())
    assert (report["exit_code"], report["failed"], report["planned"]) == (code, 0, 10)
    assert 1 <= report["done"] <= 2 and report["done"] + report["pending"] == 10
    assert [each["status"] for each in report["inputs"]] == ["done"] * report["done"] + ["pending"] * report["pending"]
    assert f"10 inputs: {report['done']} done, {report['pending']} pending" in run.err
    assert run.err.count("interrupted") == 1 and "Traceback" not in run.err
    assert not [name for name in files(ten / "out") if name.endswith(".part")]


@pytest.mark.parametrize("words", ["rank a.png b.png --task super-resolve", "evaluate super-resolve --data ."])
def test_a_signal_ends_other_commands_as_soon(
    forks: Forks, tmp_path: Path, photo: Photo, tiny_weight: Path, words: str
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    photo(folder / "a.png", 20, 24)
    photo(folder / "b.png", 40, 48)
    stuck = """
import sys, torch
from cflowtool.restorer import Restorer
def slow(*_, **__):
    print("in the middle", file=sys.stderr, flush=True)
    torch.linalg.svd(torch.randn(4000, 4000))
Restorer.restore = Restorer.score = slow
"""
    run = forks.start(folder, [*words.split(), "--model", tiny_weight], stuck)
    run.wait_for("in the middle")
    sent = run.signal(signal.SIGTERM)
    assert run.wait() == 143 and time.perf_counter() - sent < 3
    assert "interrupted" in run.err and "Traceback" not in run.err and forks.left() == []


def test_a_second_signal_ends_it_at_once(forks: Forks, ten: Path, tiny_weight: Path) -> None:
    stuck = """
import sys, time
from cflowtool.cli.account import Account
def close(*_):
    print("stuck", file=sys.stderr, flush=True)
    time.sleep(60)
Account.close = close
"""
    run = forks.start(ten, command(tiny_weight), LONG + stuck)
    run.wait_for("in the middle")
    run.signal(signal.SIGTERM)
    run.signal(signal.SIGTERM)  # as timeout(1) sends it: to the process and to its group
    run.wait_for("stuck")
    time.sleep(0.4)
    sent = run.signal(signal.SIGINT)
    assert run.wait() == 130 and time.perf_counter() - sent < 3 and forks.left() == []


def test_kills_at_any_time_leave_whole_files_and_the_rest_is_done_with_the_same_bytes(
    forks: Forks, ten: Path, tiny_weight: Path, photo: Photo
) -> None:
    for k in range(20):
        photo(ten / f"in/more-{k:02}.png", 10 + k % 5, 12, seed=k)
    whole = forks.start(ten, command(tiny_weight, "-o", "whole"))
    assert whole.wait() == 0
    took, expected = time.perf_counter() - whole.started, files(ten / "whole")
    chance, killed = random.Random(5), 0
    for _ in range(10):
        run = forks.start(ten, command(tiny_weight, "--skip-existing"))
        time.sleep(took * chance.uniform(0.05, 0.5))
        run.signal(signal.SIGKILL)
        killed += run.wait() == -signal.SIGKILL
        found = {name: data for name, data in files(ten / "out").items() if not name.endswith(".part")}
        assert found.items() <= expected.items()
    assert killed > 5 and forks.left() == []
    assert forks.start(ten, command(tiny_weight, "--skip-existing")).wait() == 0
    assert files(ten / "out") == expected


def test_a_full_disk_at_any_write_leaves_what_was_written_before(
    cflow, tiny_weight: Path, photo: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        photo(Path(f"{name}.png"), seed=ord(name))
    words = ["super-resolve", "a.png", "b.png", "c.png", "--samples", 2, "--model", tiny_weight, "-o"]
    assert cflow(*words, "whole").code == 0
    expected, original, writes = files(Path("whole")), os.fsync, 0
    for full_at in range(100):
        out, writes = Path(f"out{full_at}"), 0

        def full(descriptor: int, full_at: int = full_at) -> None:
            nonlocal writes
            writes += 1
            if writes > full_at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            original(descriptor)

        monkeypatch.setattr(os, "fsync", full)
        result = cflow(*words, out, "--report")
        monkeypatch.setattr(os, "fsync", original)
        found = files(out) if out.exists() else {}
        report = json.loads(found.pop("report.json", b"null"))
        assert found.items() <= expected.items() and len(found) == min(full_at, len(expected))
        if result.code == 0:
            assert report["done"] == 3
            break
        assert result.code == 4 and f"cflow: {out}/" in result.err and "MiB free" in result.err
        assert "No space left" in result.err and "Traceback" not in result.err
        assert cflow(*words, out, "--skip-existing").code == 0 and files(out) == expected
    assert full_at == len(expected) + 1  # the last is the report


def test_a_limit_on_the_size_of_files_is_an_error_like_a_full_disk(forks: Forks, ten: Path, tiny_weight: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    images.write(ten / "in/7z.png", images.Picture(noise))
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (12000, 12000))"
    run = forks.start(ten, ["super-resolve", "in", "-r", "--model", tiny_weight, "--report"], limit)
    assert run.wait() == 4 and "out/7z.png: cannot be written: File too large (" in run.err and "MiB free" in run.err
    report = json.loads((ten / "out/report.json").read_text())
    assert next((i["status"], i.get("code")) for i in report["inputs"] if i["status"] != "done") == ("failed", "output")
    done = [i for i in report["inputs"] if i["status"] == "done"]
    assert report["done"] == len(done) > 0 and report["pending"] > 0 and report["exit_code"] == 4
    assert sorted(files(ten / "out")) == sorted([*(i["output"][4:] for i in done), "report.json"])
    assert forks.left() == []


def test_memory_does_not_grow_with_the_number_of_images(
    forks: Forks, tmp_path: Path, tiny_weight: Path, photo: Photo
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    for k in range(200):
        photo(folder / f"{k:03}.png", 12 + k % 7, 14, seed=k)
    watch = """
from pathlib import Path
from cflowtool.cli.account import Account
add = Account.add
def watched(self, outcome):
    add(self, outcome)
    with open("pages", "a") as file:
        file.write(Path("/proc/self/statm").read_text().split()[1] + "\\n")
Account.add = watched
"""
    run = forks.start(folder, ["super-resolve", ".", "--model", tiny_weight, "--quiet", "-o", "out"], watch)
    assert run.wait() == 0
    mebibytes = [int(line) * os.sysconf("SC_PAGESIZE") / 2**20 for line in (folder / "pages").read_text().split()]
    assert len(mebibytes) == 200 and max(mebibytes[60:]) - mebibytes[60] < 20
