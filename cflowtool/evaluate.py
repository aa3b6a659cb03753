"""The field's metrics over a folder of ground truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from .canvas import Restoration, Settings
from .dataset import as_truth, find, held_out, load_eight_bit, load_with_masks, middle
from .errors import CflowError, InputError, UsageError, escape
from .images import Picture, read, to_tensor
from .metrics.calibration import coverage, exploded
from .metrics.segmentation import Reliability, pooled, reliability
from .models import Sampler
from .restorer import Restorer
from .tasks import Task
from .validation import as_picture
from .validation import drawn as sampled

Observer = Callable[[int, int, str], None]
_LEVELS = (0.5, 0.9)
_CALIBRATION_CROP = 256


@dataclass(frozen=True)
class Protocol:
    """How results are made: samples for best and mean, and ``calibration`` ones for coverage, none if 0.

    ``settings`` are the task's, such as the strength of noise; with ``held_out`` only the images that training leaves
    out are measured. Raises UsageError for less than one sample or a temperature below 0.
    """

    samples: int = 10
    temperature: float = 0.8
    seed: int = 0
    calibration: int = 50
    held_out: bool = False
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.samples < 1 or self.temperature < 0:
            what = "samples must be at least 1 and the temperature at least 0"
            raise UsageError(what, "try --samples 10 --temp 0.8")

    @property
    def said(self) -> dict[str, Any]:
        """What stands beside the figures."""
        drawn = {"samples": self.samples, "temperature": self.temperature, "seed": self.seed}
        given = {name: value for name, value in self.settings.items() if value is not None}
        return drawn | {"calibration_samples": self.calibration, "held_out": self.held_out} | given


@dataclass(frozen=True)
class Example:
    """What a user would have of a truth: picture and mask; the right result and the pixels that are measured."""

    picture: Picture
    mask: Tensor | None
    right: Tensor
    within: Tensor | None


class Evaluation:
    """Restores every image of a folder from its own degraded version and measures the results."""

    def __init__(self, restorer: Restorer, protocol: Protocol) -> None:
        self.restorer, self.protocol = restorer, protocol
        self.rows: list[dict[str, Any]] = []
        self.reliability: list[Reliability] = []

    def _restore(self, given: Example, samples: int, temperature: float) -> Restoration:
        settings = Settings(samples, temperature, self.protocol.seed, mean=samples > 1)
        return self.restorer.restore(given.picture, settings, given.mask)

    def measure(self, path: Path, given: Path | None) -> dict[str, Any]:
        """Return one image's figures; ``given`` is its degraded file, made here from the truth when None.

        Raises InputError for an image that is unreadable, too small to measure, or whose degraded file does not fit.
        """
        task, photo = self.restorer.task, load_eight_bit(path) if not self.restorer.task.masks else None
        photo = load_with_masks(path, task) if photo is None else photo
        if not task.measurable(*photo.shape[1:]):
            raise InputError(f"{escape(path)} is too small to measure", "leave images of a few pixels out")
        truth = as_truth(photo[None])
        example = _example(task, truth)
        if given:
            x_picture = read(given)
            if x_picture.size != example.picture.size:
                raise InputError(f"{escape(given)} has not the size that belongs to {escape(path)}", "check --input")
            example = replace(example, picture=x_picture)
        return self._figures(example) | self._calibration(photo)

    def _figures(self, example: Example) -> dict[str, Any]:
        task, right, within = self.restorer.task, example.right, example.within
        image = to_tensor(example.picture)
        drawn = self._restore(example, self.protocol.samples, self.protocol.temperature)
        results = {
            "temp0": to_tensor(self._restore(example, 1, 0.0).pictures[0]),
            "mean": to_tensor(drawn.mean or drawn.pictures[0]),
            **task.baselines(image, task.condition(image, example.mask)),
        }
        if drawn.log_prob is not None:
            results["best"] = to_tensor(drawn.pictures[drawn.order[0]])
        row: dict[str, Any] = {"results": {name: task.metrics(r, right, within) for name, r in results.items()}}
        if drawn.consistency is not None:
            row["consistency_db"] = fmean(drawn.consistency)
        if task.near_baseline:
            base = results[task.baseline_name][0]
            row["exploded"] = fmean(exploded(to_tensor(p), base) for p in drawn.pictures)
        if drawn.log_prob is not None:
            score = self.restorer.score(example.picture, [as_picture(right[0])], mask=example.mask)
            row["bits_per_dim"] = score[0].bits_per_dim
        if task.levels == 2:
            self.reliability.append(reliability(results["mean"][0, 0].clamp(0, 1), right[0, 0] > 0.5, within))
        return row

    @torch.no_grad()
    def _calibration(self, photo: Tensor) -> dict[str, Any]:
        """Return the coverage of the central intervals and the share of exploded pixels at temperature 1."""
        task, model, device = self.restorer.task, self.restorer.model, self.restorer.device
        pair = _middle(task, model, photo) if self.protocol.calibration and task.levels > 2 else None
        if pair is None:
            return {}
        x, y, within = pair
        drawn = sampled(model, x.to(device), 1.0, self.protocol.calibration, self.protocol.seed).cpu()
        shown, truth = (drawn, y[0]) if within is None else (drawn[..., within], y[0][..., within])
        if not truth.numel():
            return {}
        found: dict[str, Any] = {"coverage": {f"{level:.0%}": coverage(shown, truth, level) for level in _LEVELS}}
        if task.near_baseline:
            found["exploded_temp1"] = exploded(task.assemble(x, drawn), task.baseline(x)[0])
        return found

    def summary(self) -> dict[str, Any]:
        """Return the means over the images, and the reliability of maps of probability over all their pixels."""
        means: dict[str, Any] = _mean([{k: v for k, v in row.items() if k != "image"} for row in self.rows])
        return means | ({"reliability": pooled(self.reliability).said()} if self.reliability else {})


def _mean(rows: list[Any]) -> Any:
    if isinstance(rows[0], dict):
        return {key: _mean([row[key] for row in rows if key in row]) for key in rows[0]}
    return fmean(rows)


def _example(task: Task, truth: Tensor) -> Example:
    image, mask, right = task.given(truth)
    within = task.within(task.pair(truth)[0], truth)
    return Example(as_picture(image[0]), mask, right, within)


def _middle(task: Task, model: Sampler, photo: Tensor) -> tuple[Tensor, Tensor, Tensor | None] | None:
    """Return x, y and the pixels that count of the middle of a photograph as it is trained on; None if too small."""
    truth = as_truth(task.prepare(photo)[None])
    if model.size.fixed:
        sides = [side * model.scale for side in model.size.fixed]
    else:
        multiple = model.size.multiple_of * model.scale
        sides = [min(side, _CALIBRATION_CROP) // multiple * multiple for side in truth.shape[-2:]]
    if not min(sides) or any(side < kept for side, kept in zip(truth.shape[-2:], sides, strict=True)):
        return None
    truth = middle(truth, sides[0], sides[1])
    x, y = task.pair(truth)
    return x, y, task.within(x, truth)


def _given(inputs: Path | None, name: Path) -> Path | None:
    if inputs is None:
        return None
    if not (inputs / name).is_file():
        what = f"no degraded file {escape(inputs / name)}"
        raise InputError(what, "--input needs a file of the same name for every image")
    return inputs / name


def evaluate(
    restorer: Restorer,
    data: Path,
    protocol: Protocol = Protocol(),
    inputs: Path | None = None,
    limit: int | None = None,
    observer: Observer = lambda done, of, name: None,
) -> dict[str, Any]:
    """Return {task, model, data, images, results, bits_per_dim, coverage, ...}, means over a folder of ground truth.

    An image that cannot be measured is named in ``failed`` and left out; raises its InputError if no image is left.
    """
    restorer.task.adapt(**protocol.settings)
    paths = _paths(restorer.task, data, protocol)[:limit]
    evaluation = Evaluation(restorer, protocol)
    failed: list[CflowError] = []
    for done, path in enumerate(paths):
        name = path.relative_to(data)
        observer(done, len(paths), str(name))
        try:
            evaluation.rows.append({"image": str(name)} | evaluation.measure(path, _given(inputs, name)))
        except InputError as error:
            failed.append(error)
    if not evaluation.rows:
        raise failed[0]
    head = {
        "task": restorer.task.name,
        "model": restorer.card.recipe.model.name,
        "weights": {"name": restorer.card.name, "sha256": restorer.sha256},
        "data": str(data),
        "images": len(evaluation.rows),
        "failed": [error.what for error in failed],
        "protocol": protocol.said,
    }
    return head | evaluation.summary() | {"per_image": evaluation.rows}


def _paths(task: Task, data: Path, protocol: Protocol) -> list[Path]:
    paths = find([data])
    chosen = [path for path in paths if held_out(path, task.held_out_share)] if protocol.held_out else paths
    if not chosen:
        raise UsageError(f"no image in {escape(data)} is left out by training", "leave --held-out out")
    return chosen
