"""The loop over the inputs; what it writes is tested through the shell in tests/cli/test_super_resolve.py."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest

from cflowtool import images, weights
from cflowtool.batch import Job, Outputs, Plan, run, run_one
from cflowtool.batch.run import Steps
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


def fail(restorer: Restorer, monkeypatch: pytest.MonkeyPatch, errors: Iterator[Exception]) -> None:
    """Make the restorer raise these errors, one a picture; pictures that were read in time go to it together."""

    def together(*_: object) -> None:
        raise RuntimeError("one of them")

    def alone(*_: object) -> None:
        raise next(errors)

    monkeypatch.setattr(restorer, "restore_many", together)
    monkeypatch.setattr(restorer, "restore", alone)


def test_an_error_of_one_input_is_an_outcome(restorer: Restorer, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(restorer, monkeypatch, iter([CflowError("not finite", "lower it"), RuntimeError("memory")]))
    first, second = run(JOBS, restorer, PLAN)
    assert [str(first.error), str(second.error)] == ["a.png: not finite", "b.png: RuntimeError: memory"]
    assert isinstance(second.error, InputError)
    assert not Path("out").exists()


@pytest.mark.parametrize("kind", [OutputError, UsageError])
def test_an_error_of_all_inputs_stops(
    restorer: Restorer, monkeypatch: pytest.MonkeyPatch, kind: type[CflowError]
) -> None:
    fail(restorer, monkeypatch, repeat(kind("full", "tidy")))
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


def test_what_is_restored_together_is_restored_the_same(restorer: Restorer, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [Job(Path(f"{name}.png"), Path(name)) for name in "ababab"]
    jobs = [Job(job.source, Path(f"{k}")) for k, job in enumerate(jobs)]
    plans = {name: replace(PLAN, outputs=Outputs(Path(name), many=True)) for name in ("together", "failing", "one")}
    steps = {name: Steps(restorer, plan) for name, plan in plans.items()}
    ready = {name: [steps[name].read(job) for job in jobs] for name in plans}
    assert len({steps["one"].group(each) for each in ready["one"]}) == 1
    together = [steps["together"].write(each) for each in steps["together"].restore(ready["together"])]
    alone = [steps["one"].write(made) for each in ready["one"] for made in steps["one"].restore([each])]
    monkeypatch.setattr(restorer, "restore_many", lambda *_: (_ for _ in ()).throw(RuntimeError("memory")))
    failing = [steps["failing"].write(each) for each in steps["failing"].restore(ready["failing"])]
    for outcomes in (together, failing):
        assert [list(each.files.values()) for each in outcomes] == [list(each.files.values()) for each in alone]
        assert {each.status for each in outcomes} == {"done"} and all(each.seconds > 0 for each in outcomes)


def test_one_alone_is_one_of_many(restorer: Restorer) -> None:
    outcomes = list(run(JOBS, restorer, PLAN))
    again = [run_one(job, restorer, replace(PLAN, outputs=Outputs(Path("again"), many=True))) for job in JOBS]
    assert [list(each.files.values()) for each in outcomes] == [list(each.files.values()) for each in again]
    assert [each.sha256 for each in outcomes] == [each.sha256 for each in again] and len(outcomes[0].files) == 4


def test_a_name_that_is_too_long_for_a_result_is_that_inputs_error(restorer: Restorer) -> None:
    long = Job(Path("a.png"), Path("x" * 256))
    first, second = run([long, JOBS[1]], restorer, PLAN)
    assert first.error and (first.error.reason, second.status) == ("name-too-long", "done")


def test_a_result_that_another_run_has_written_meanwhile_is_that_inputs_error(restorer: Restorer) -> None:
    Path("out/a").mkdir(parents=True)
    Path("out/a/01.png").touch()
    first, second = run(JOBS, restorer, PLAN)
    assert first.error and (first.error.reason, second.status) == ("output-exists", "done")
    assert Path("out/a/01.png").read_bytes() == b""


def test_a_link_to_a_folder_is_passed_over(restorer: Restorer) -> None:
    problem = InputError("in/loop: a symlink to a folder is not followed", "name it", "symlink")
    [outcome] = run([Job(Path("in/loop"), Path("loop"), problem)], restorer, PLAN)
    assert (outcome.status, outcome.notes, outcome.error) == ("skipped", [problem.what], None)
