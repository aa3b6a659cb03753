"""What is known of each input at the end, and the report."""

import hashlib
import json
import threading
from pathlib import Path

import pytest

from cflowtool import images
from cflowtool.batch import Job, Outcome, Shard, counted, write_report
from cflowtool.batch.outcome import digests
from cflowtool.errors import InputError, OutputError

JOBS = [Job(Path(f"{name}.png"), Path(name)) for name in "abcd"]
OUTCOMES = [
    Outcome(JOBS[0], "done", Path("out/a.png"), 1.23456, sha256="0" * 64, files={"out/a.png": "1" * 64}),
    Outcome(JOBS[1], "skipped", Path("out/b.png")),
    Outcome(JOBS[2], "failed", Path("out/c.png"), error=InputError("c.png: gone", "look", "missing")),
]


def test_a_report_accounts_for_every_input_that_was_planned(tmp_path: Path) -> None:
    path = write_report(tmp_path, {"task": "t"}, OUTCOMES, JOBS)
    value = json.loads(path.read_text())
    assert {name: value[name] for name in ("done", "skipped", "failed", "pending")} == counted(OUTCOMES, 4)
    assert list(counted(OUTCOMES, 4).values()) == [1, 1, 1, 1]
    assert [each["input"] for each in value["inputs"]] == [job.name for job in JOBS]
    assert [each["status"] for each in value["inputs"]] == ["done", "skipped", "failed", "pending"]
    done, _, failed, _ = value["inputs"]
    assert done["outputs"] == [{"file": "out/a.png", "sha256": "1" * 64}] and done["seconds"] == 1.235
    assert (failed["code"], failed["reason"], failed["hint"]) == ("missing", "c.png: gone", "look")


def test_reports_never_replace_each_other(tmp_path: Path) -> None:
    shard = Shard(3, 16)
    names = [write_report(tmp_path, {}, [], [], each).name for each in (None, None, shard, shard, Shard(4, 16))]
    assert names == ["report.json", "report-2.json", "report-3-of-16.json", "report-3-of-16-2.json",
                     "report-4-of-16.json"]  # fmt: skip
    together = [threading.Thread(target=write_report, args=(tmp_path, {"k": k}, [])) for k in range(20)]
    for thread in together:
        thread.start()
    for thread in together:
        thread.join()
    found = [json.loads(path.read_text()).get("k") for path in tmp_path.iterdir()]
    assert sorted(k for k in found if k is not None) == list(range(20))


def test_a_report_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        write_report(tmp_path / "file", {}, [])


def test_digests_are_of_the_files_that_are_there(tmp_path: Path) -> None:
    images.write_bytes(tmp_path / "a", b"abc")
    found = digests([tmp_path / "a", tmp_path / "none", tmp_path])
    assert found == {str(tmp_path / "a"): hashlib.sha256(b"abc").hexdigest()}
