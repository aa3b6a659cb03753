"""The loop over the inputs; what it writes is tested through the shell in tests/cli/test_super_resolve.py."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cflowtool import images, weights
from cflowtool.batch import Job, Outcome, Outputs, Plan, run, write_report
from cflowtool.canvas import Settings
from cflowtool.errors import CflowError, InputError, NoLikelihood, OutputError, UsageError
from cflowtool.models import Sampler
from cflowtool.restorer import Restorer


@pytest.fixture
def restorer(
    tiny_weight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: Callable[..., Path]
) -> Restorer:
    """The tiny weight at work in a folder with two images."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        photo(Path(f"{name}.png"), seed=ord(name))
    return Restorer(weights.load(tiny_weight), device="cpu")


JOBS = [Job(Path("a.png"), Path("a")), Job(Path("b.png"), Path("b"))]
PLAN = Plan(Settings(samples=2, temperature=0.8, std=True), Outputs(Path("out"), many=True), maps=("std",))


def test_an_error_of_one_input_is_an_outcome(restorer: Restorer, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = iter([CflowError("not finite", "lower it"), RuntimeError("memory")])
    monkeypatch.setattr(restorer, "restore", lambda *_: (_ for _ in ()).throw(next(errors)))
    first, second = run(JOBS, restorer, PLAN)
    assert [str(first.error), str(second.error)] == ["not finite", "b.png: RuntimeError: memory"]
    assert isinstance(second.error, InputError)
    assert not Path("out").exists()


@pytest.mark.parametrize("kind", [OutputError, UsageError])
def test_an_error_of_all_inputs_stops(
    restorer: Restorer, monkeypatch: pytest.MonkeyPatch, kind: type[CflowError]
) -> None:
    monkeypatch.setattr(restorer, "restore", lambda *_: (_ for _ in ()).throw(kind("full", "tidy")))
    with pytest.raises(kind, match="full"):
        next(run(JOBS, restorer, PLAN))


def test_the_manifest_is_written_last(restorer: Restorer, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    original = Outputs.picture
    monkeypatch.setattr(
        Outputs, "picture", lambda self, job, name, *rest: written.append(name) or original(self, job, name, *rest)
    )
    [outcome] = run(JOBS[:1], restorer, PLAN)
    assert written == ["01.png", "02.png", "std.png"]
    manifest = json.loads(Path("out/a/samples.json").read_text())
    assert {key: value for key, value in manifest.items() if key != "key"} == outcome.manifest


def test_sixteen_bits_and_alpha_come_through(restorer: Restorer) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (8, 8, 4), dtype=np.uint16)
    images.write(Path("wide.png"), images.Picture(values[..., :3], values[..., 3]))
    [outcome] = run([Job(Path("wide.png"), Path("wide"))], restorer, PLAN)
    assert outcome.status == "done"
    result = images.read(Path("out/wide/01.png"))
    assert result.bits == 16 and result.alpha is not None and result.alpha.shape == (16, 16)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"keep": 3}, UsageError),
        ({"settings": Settings(samples=1)}, UsageError),
    ],
)
def test_check(restorer: Restorer, change: dict[str, object], error: type[CflowError]) -> None:
    PLAN.check(restorer, JOBS)
    with pytest.raises(error):
        replace(PLAN, **change).check(restorer, JOBS)


def test_no_likelihood_to_keep_by(restorer: Restorer) -> None:
    restorer.model = Sampler()
    replace(PLAN, keep=2).check(restorer, JOBS)
    with pytest.raises(NoLikelihood):
        replace(PLAN, keep=1).check(restorer, JOBS)


def test_a_model_without_likelihood_ranks_nothing(restorer: Restorer, monkeypatch: pytest.MonkeyPatch) -> None:
    original = restorer.restore
    blind = {"log_prob": None, "bits_per_dim": None}
    monkeypatch.setattr(restorer, "restore", lambda *given: replace(original(*given), **blind))
    [outcome] = run(JOBS[:1], restorer, PLAN)
    assert [(s["rank"], s["log_prob"], s["index"]) for s in outcome.manifest["samples"]] == [
        (None, None, 0),
        (None, None, 1),
    ]
    assert "cflow:log_prob" not in images.read(Path("out/a/01.png")).text


def test_reports_are_numbered(tmp_path: Path) -> None:
    outcomes = [Outcome(JOBS[0], "done", Path("out/a.png"), 1.23456), Outcome(JOBS[1], "skipped", Path("out/b.png"))]
    paths = [write_report(tmp_path, {"task": "t"}, outcomes) for _ in range(2)]
    assert [path.name for path in paths] == ["report.json", "report-2.json"]
    value = json.loads(paths[0].read_text())
    assert (value["done"], value["skipped"], value["failed"], value["inputs"][0]["seconds"]) == (1, 1, 0, 1.235)
