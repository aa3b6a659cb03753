"""What is known of a result: samples.json, the text inside each picture, and the key that says what both depend on."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cflowtool import __version__
from cflowtool.batch.inputs import Job
from cflowtool.batch.outputs import MARK
from cflowtool.batch.plan import Plan
from cflowtool.canvas import Restoration
from cflowtool.images import Picture
from cflowtool.restorer import Restorer

FORMAT = 1


def key_of(digest: str, restorer: Restorer, plan: Plan) -> str:
    """What tells a finished result from one of other settings: a digest of all that its pixels depend on."""
    settings = {
        **asdict(plan.settings),
        "kept": plan.kept,
        "order": plan.order,
        "maps": plan.maps,
        "suffix": plan.outputs.suffix,
        "estimate": None if plan.estimate is None else asdict(plan.estimate),
        "options": plan.options,
        "deterministic": plan.deterministic,
    }
    parts = [digest, restorer.sha256, restorer.task.name, restorer.precision, restorer.tile, settings]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def described(
    job: Job, digest: str, picture: Picture, restorer: Restorer, restoration: Restoration, plan: Plan
) -> dict[str, Any]:
    """The manifest of a result, which is samples.json where there is one."""
    height, width = picture.size
    samples = [_sample(rank, at, restoration, plan, job) for rank, at in enumerate(kept(restoration, plan), 1)]
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


def kept(restoration: Restoration, plan: Plan) -> list[int]:
    """The positions of the samples that are written, in the order they are written in."""
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


def text_of(manifest: dict[str, Any], key: str) -> dict[str, str]:
    """What every picture of a result says of itself."""
    said = {name: str(manifest[name]) for name in ("task", "model", "seed", "temperature", "order_by", "version")}
    said |= {"weights": manifest["weights"]["name"], "weights_sha256": manifest["weights"]["sha256"]}
    return {MARK: key, **{f"cflow:{name}": value for name, value in said.items()}}


def caption(sample: dict[str, Any], order_by: str) -> str:
    """What stands under a sample on a sheet."""
    if "estimate" in sample:
        return str(sample["estimate"])
    place = f"sample {sample['index']}" if sample["rank"] is None else str(sample["rank"])
    name, unit = ("consistency_db", "dB") if order_by == "consistency" else ("bits_per_dim", "bits/dim")
    return place if sample[name] is None else f"{place}: {sample[name]:.3f} {unit}"


def note(manifest: dict[str, Any]) -> str:
    """What stands under a whole sheet."""
    parts = [Path(manifest["input"]["name"]).name, manifest["weights"]["name"]]
    parts += [f"temperature {manifest['temperature']:g}", f"seed {manifest['seed']}"]
    orders = {"likelihood": ["most likely first"], "consistency": ["most consistent with the input first"]}
    return " | ".join([*parts, *orders.get(manifest["order_by"], [])])
