"""The loop over the inputs: read, restore, write, and never let one bad file stop the others."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from cflowtool import __version__, images, views
from cflowtool.batch.inputs import Job
from cflowtool.batch.outputs import MARK
from cflowtool.batch.plan import Plan
from cflowtool.canvas import Restoration
from cflowtool.errors import CflowError, InputError, OutputError, UsageError, WeightsError, escape
from cflowtool.images import Picture, write_bytes
from cflowtool.restorer import Restorer

FORMAT = 1
STOPPING = (UsageError, OutputError, WeightsError)


@dataclass
class Outcome:
    """What became of one input: a manifest when done, an error when failed, neither when it was finished before.

    `output` is the file that is written last."""

    job: Job
    status: Literal["done", "skipped", "failed"]
    output: Path
    seconds: float = 0.0
    manifest: dict[str, Any] = field(default_factory=dict)
    error: CflowError | None = None
    notes: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """One line of report.json."""
        reason = {"reason": self.error.what, "hint": self.error.hint} if self.error else {}
        head = {"input": self.job.name, "status": self.status, "output": str(self.output)}
        return {**head, **reason, "seconds": round(self.seconds, 3), "notes": self.notes}


def run(jobs: Sequence[Job], restorer: Restorer, plan: Plan) -> Iterator[Outcome]:
    """Works on one input after the other and yields what became of each.

    Raises UsageError, OutputError and WeightsError, which would hit the other inputs, too; all else is an Outcome.
    """
    for job in jobs:
        start = time.perf_counter()
        output = plan.outputs.marker(job)
        try:
            outcome = _one(job, restorer, plan)
        except STOPPING:
            raise
        except CflowError as error:
            outcome = Outcome(job, "failed", output, error=error)
        except Exception as error:
            what = f"{escape(job.name)}: {type(error).__name__}: {escape(error, 160)}"
            outcome = Outcome(job, "failed", output, error=InputError(what, "run it alone with --debug and report it"))
            outcome.error.__cause__ = error  # type: ignore[union-attr]
        outcome.seconds = time.perf_counter() - start
        yield outcome


def write_report(folder: Path, head: dict[str, Any], outcomes: Sequence[Outcome]) -> Path:
    """Writes report.json, or report-2.json and so on where there is one already; returns its path."""
    number, path = 1, folder / "report.json"
    while path.exists():
        number += 1
        path = folder / f"report-{number}.json"
    counts = {status: sum(o.status == status for o in outcomes) for status in ("done", "skipped", "failed")}
    value = {"version": __version__, **head, **counts, "inputs": [o.summary() for o in outcomes]}
    write_bytes(path, (json.dumps(value, indent=1) + "\n").encode())
    return path


def _one(job: Job, restorer: Restorer, plan: Plan) -> Outcome:
    content = job.content()
    digest = hashlib.sha256(content).hexdigest()
    key = _key(digest + plan.masks.digest(job), restorer, plan)
    output = plan.outputs.marker(job)
    if plan.outputs.skip_existing and (state := plan.outputs.state(job, key)) != "absent":
        if state == "same":
            return Outcome(job, "skipped", output)
        what = f"{escape(output)}: exists already, made with other settings or from another image"
        raise InputError(what, "add --overwrite, or choose another folder with -o")
    mask = plan.masks.of(job, images.read(content, name=job.name))
    restoration = restorer.restore(mask.picture, plan.settings, mask.values)
    manifest = _manifest(job, digest, mask.picture, restorer, restoration, plan)
    notes = _write(job, restoration, manifest, key, plan)
    return Outcome(job, "done", output, manifest=manifest, notes=list(dict.fromkeys([*restoration.notes, *notes])))


def _key(digest: str, restorer: Restorer, plan: Plan) -> str:
    """What tells a finished result from one of other settings: a digest of all that its pixels depend on."""
    settings = {
        **asdict(plan.settings),
        "kept": plan.kept,
        "order": plan.order,
        "maps": plan.maps,
        "suffix": plan.outputs.suffix,
        "estimate": None if plan.estimate is None else asdict(plan.estimate),
        "options": plan.options,
    }
    parts = [digest, restorer.sha256, restorer.task.name, restorer.precision, restorer.tile, settings]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _manifest(
    job: Job, digest: str, picture: Picture, restorer: Restorer, restoration: Restoration, plan: Plan
) -> dict[str, Any]:
    height, width = picture.size
    samples = [_sample(rank, at, restoration, plan, job) for rank, at in enumerate(_kept(restoration, plan), 1)]
    if plan.estimate:
        samples = [_estimated(job, plan)]
    return {
        "format": FORMAT,
        "version": __version__,
        "input": {"name": job.name, "sha256": digest, "width": width, "height": height},
        "weights": {"name": restorer.card.name, "sha256": restorer.sha256},
        "task": restorer.task.name,
        "model": restorer.card.recipe.model.name,
        "seed": plan.settings.seed,
        "temperature": plan.settings.temperature,
        "options": plan.options,
        "drawn": plan.settings.samples,
        "tiled": restoration.tiled,
        "order_by": _order_by(restoration, plan),
        "samples": samples,
        "maps": {name: f"{name}.png" for name in plan.maps},
    }


def _order_by(restoration: Restoration, plan: Plan) -> str:
    return plan.order or ("drawn" if restoration.log_prob is None else "likelihood")


def _kept(restoration: Restoration, plan: Plan) -> list[int]:
    scores = {"likelihood": restoration.log_prob, "consistency": restoration.consistency}.get(
        _order_by(restoration, plan)
    )
    drawn = range(len(restoration.pictures))
    return sorted(drawn, key=lambda at: 0.0 if scores is None else -scores[at])[: plan.kept]


def _sample(rank: int, at: int, restoration: Restoration, plan: Plan, job: Job) -> dict[str, Any]:
    return {
        "file": plan.outputs.file(job, plan.sample_name(rank)).name,
        "index": restoration.indices[at],
        "rank": None if _order_by(restoration, plan) == "drawn" else rank,
        "log_prob": _finite(restoration.log_prob, at),
        "bits_per_dim": _finite(restoration.bits_per_dim, at),
        "consistency_db": _finite(restoration.consistency, at),
    }


def _estimated(job: Job, plan: Plan) -> dict[str, Any]:
    assert plan.estimate
    about = {"index": None, "rank": None, "log_prob": None, "bits_per_dim": None, "consistency_db": None}
    return {
        "file": plan.outputs.file(job, plan.sample_name(1)).name,
        **about,
        "estimate": plan.estimate.said(plan.settings.samples),
    }


def _finite(values: Sequence[float] | None, at: int) -> float | None:
    return values[at] if values is not None and math.isfinite(values[at]) else None


def _write(job: Job, restoration: Restoration, manifest: dict[str, Any], key: str, plan: Plan) -> list[str]:
    stale = plan.outputs.begin(job)
    text = _text(manifest, key)
    kept = _pictures(restoration, plan)
    for picture, sample in zip(kept, manifest["samples"], strict=True):
        _forget(picture)
        about = {
            f"cflow:{name}": str(sample[name]) for name in ("index", "rank", "log_prob") if sample[name] is not None
        }
        plan.outputs.picture(job, sample["file"], picture, {**text, **about})
    for name, picture in _maps(kept, restoration, manifest, plan).items():
        _forget(picture)
        plan.outputs.picture(job, f"{name}.png", picture, text)
    written = {plan.outputs.file(job, name) for name in plan.names()}
    plan.outputs.manifest(job, {**manifest, "key": key}, [path for path in stale if path not in written])
    return [note for picture in kept for note in picture.notes]


def _pictures(restoration: Restoration, plan: Plan) -> list[Picture]:
    if plan.estimate and restoration.mean is not None:
        return [plan.estimate.of(restoration.mean)]
    return [restoration.pictures[at] for at in _kept(restoration, plan)]


def _text(manifest: dict[str, Any], key: str) -> dict[str, str]:
    said = {name: str(manifest[name]) for name in ("task", "model", "seed", "temperature", "order_by", "version")}
    said |= {"weights": manifest["weights"]["name"], "weights_sha256": manifest["weights"]["sha256"]}
    return {MARK: key, **{f"cflow:{name}": value for name, value in said.items()}}


def _forget(picture: Picture) -> None:
    picture.text = {name: value for name, value in picture.text.items() if not name.startswith("cflow:")}


def _maps(kept: list[Picture], restoration: Restoration, manifest: dict[str, Any], plan: Plan) -> dict[str, Picture]:
    made: dict[str, Picture] = {}
    std = restoration.std
    spread = None if std is None else views.spread_map(std, plan.settings.samples)
    if "mean" in plan.maps and restoration.mean is not None:
        made["mean"] = restoration.mean
    if "std" in plan.maps and spread is not None:
        made["std"] = spread
    if "sheet" in plan.maps:
        captions = [_caption(sample, manifest["order_by"]) for sample in manifest["samples"]]
        shown = kept if spread is None else [*kept, spread]
        made["sheet"] = views.sheet(shown, captions if spread is None else [*captions, "spread"], note=_note(manifest))
    return made


def _caption(sample: dict[str, Any], order_by: str) -> str:
    if "estimate" in sample:
        return str(sample["estimate"])
    place = f"sample {sample['index']}" if sample["rank"] is None else str(sample["rank"])
    name, unit = ("consistency_db", "dB") if order_by == "consistency" else ("bits_per_dim", "bits/dim")
    return place if sample[name] is None else f"{place}: {sample[name]:.3f} {unit}"


def _note(manifest: dict[str, Any]) -> str:
    parts = [Path(manifest["input"]["name"]).name, manifest["weights"]["name"]]
    parts += [f"temperature {manifest['temperature']:g}", f"seed {manifest['seed']}"]
    orders = {"likelihood": ["most likely first"], "consistency": ["most consistent with the input first"]}
    return " | ".join([*parts, *orders.get(manifest["order_by"], [])])
