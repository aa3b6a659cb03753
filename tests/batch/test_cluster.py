"""A run at several workers is the run of one process, whatever happens to the workers."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("distributed")

from cflowtool import weights
from cflowtool.batch import Job, Outcome, Outputs, Plan, cluster, run
from cflowtool.canvas import Settings
from cflowtool.cli.main import run as command_line
from cflowtool.errors import OutputError, UsageError, WeightsError
from cflowtool.restorer import Restorer

Photo = Callable[..., Path]


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Two worker processes."""
    with cluster.connected(None, 2) as made:
        yield made


@pytest.fixture
def restorer(tiny_weight: Path) -> Restorer:
    return Restorer(weights.load(tiny_weight), device="cpu")


@pytest.fixture
def jobs(photo: Photo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Twelve inputs by relative names, of which one is no image and one is not there."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for seed in range(12):
        photo(Path("in", f"{seed}.png"), 12 + seed % 3, 14, seed)
    Path("in", "3.png").write_bytes(b"no image")
    Path("in", "7.png").unlink()
    return [Job(Path("in", f"{seed}.png"), Path(f"{seed}")) for seed in range(12)]


def plan(folder: str, samples: int = 2, **rules: bool) -> Plan:
    return Plan(Settings(samples, 0.8, 3), Outputs(Path(folder), many=samples > 1, **rules))


def files(folder: str) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


def told(outcomes: list[Outcome]) -> list[tuple[Any, ...]]:
    """What is said of each input, but for the folder and the time."""
    return [
        (o.job, o.status, str(o.error), o.error and o.error.reason, o.notes, o.sha256, [*o.files.values()])
        for o in outcomes
    ]


@pytest.mark.parametrize("samples", [1, 2])
def test_workers_give_what_one_process_gives_in_the_same_order(
    samples: int, client: Any, restorer: Restorer, jobs: list[Job]
) -> None:
    here = list(run(jobs, restorer, plan("here", samples)))
    there = list(cluster.run(jobs, restorer, plan("there", samples), client))
    assert told(there) == told(here) and [o.status for o in here].count("failed") == 2
    assert files("there") == files("here") and len(files("here")) == 10 * (samples + (samples > 1))
    again = list(cluster.run(jobs, restorer, plan("there", samples, skip_existing=True), client))
    assert [o.status for o in again].count("skipped") == 10


def test_what_a_killed_worker_was_at_is_done_again(client: Any, restorer: Restorer, jobs: list[Job]) -> None:
    expected = told(list(run(jobs, restorer, plan("here"))))
    outcomes = []
    for outcome in cluster.run(jobs, restorer, plan("there"), client):
        outcomes.append(outcome)
        if len(outcomes) == 2:
            pids = client.run(os.getpid)
            os.kill(next(iter(pids.values())), signal.SIGKILL)
    assert told(outcomes) == expected and files("there") == files("here")
    client.wait_for_workers(2, timeout=60)


@pytest.mark.parametrize("left", [["01.png", "02.png", "samples.json"], ["01.png"], ["01.png", "02.png"]])
def test_what_a_killed_worker_left_is_replaced_by_the_same(
    left: list[str], restorer: Restorer, jobs: list[Job]
) -> None:
    site = cluster.Site.of(restorer, plan("here"))
    first = cluster._done(jobs[0], plan("here"), site)
    whole = files("here")
    for name in set(whole) - {f"0/{name}" for name in left}:
        Path("here", name).unlink()
    again = cluster._done(jobs[0], plan("here"), site)
    assert told([again]) == told([first]) and again.status == "done" and files("here") == whole


def test_what_others_wrote_meanwhile_stays(restorer: Restorer, jobs: list[Job]) -> None:
    Path("here").mkdir()
    Path("here", "0.png").write_bytes(b"another's")
    site = cluster.Site.of(restorer, plan("here", 1))
    found = cluster._done(jobs[0], plan("here", 1), site)
    assert found.status == "failed" and files("here") == {"0.png": b"another's"}


def test_errors_that_would_hit_all_inputs_end_the_run(client: Any, restorer: Restorer, jobs: list[Job]) -> None:
    Path("file").touch()
    with pytest.raises(OutputError):
        list(cluster.run(jobs, restorer, plan("file/x"), client))
    other = Restorer(weights.load(restorer.path), device="cpu")
    other.sha256 = "0" * 64
    with pytest.raises(WeightsError, match="another file"):
        list(cluster.run(jobs, other, plan("there"), client))


def test_standard_input_and_output_stay_here(client: Any, restorer: Restorer, jobs: list[Job]) -> None:
    piped = plan("-", 1)
    for given, where in (
        ([Job(None, Path("stdin"))], piped),
        (jobs, replace(piped, outputs=Outputs(Path("-"), pipe=True))),
    ):
        with pytest.raises(UsageError, match="one process"):
            list(cluster.run(given, restorer, where, client))


def test_the_command_gives_the_same_files_lines_and_exit_code(
    client: Any, tiny_weight: Path, jobs: list[Job], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["super-resolve", "in", "--model", str(tiny_weight), "--device", "cpu", "--json", "--report"]
    words += ["--samples", "2", "--quiet"]
    given = [*words, "--out", "there", "--cluster", client.scheduler.address]
    codes = command_line([*words, "--out", "here"]), command_line(given)
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    seconds = [line.pop("seconds", None) for line in lines]
    assert codes == (1, 1) and len(lines) == len(seconds) == 2 * 11
    for here, there in zip(lines[:11], lines[11:], strict=True):
        assert json.dumps(there).replace("there", "here") == json.dumps(here)
    made, expected = files("there"), files("here")
    assert made.keys() == expected.keys() and [k for k in made if made[k] != expected[k]] == ["report.json"]
    monkeypatch.setattr(cluster, "_SECONDS_TO_CONNECT", 1)
    assert command_line([*words, "--out", "nowhere", "--cluster", "tcp://127.0.0.1:9"]) == 2
