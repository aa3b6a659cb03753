"""The field's metrics over a folder of ground truth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from .canvas import Restoration, Settings
from .dataset import find, midpoints
from .errors import CflowError, InputError, UsageError, escape
from .images import Picture, read, to_tensor
from .metrics.calibration import coverage, exploded
from .restorer import Restorer
from .validation import as_picture

Observer = Callable[[int, int, str], None]
_LEVELS = (0.5, 0.9)
_CALIBRATION_CROP = 256


class Evaluation:
    """Restores every image of a folder from its own degraded version and measures the results."""

    def __init__(self, restorer: Restorer, samples: int, temperature: float, seed: int, calibration: int) -> None:
        self.restorer, self.samples, self.temperature, self.seed = restorer, samples, temperature, seed
        self.calibration = calibration
        self.rows: list[dict[str, Any]] = []

    def _restore(self, picture: Picture, samples: int, temperature: float) -> Restoration:
        return self.restorer.restore(picture, Settings(samples, temperature, self.seed, mean=samples > 1))

    def measure(self, path: Path, given: Path | None) -> dict[str, Any]:
        """Return one image's figures; ``given`` is its degraded file, made here from the truth when None.

        Raises InputError for an image that is unreadable, too small to measure, or whose degraded file does not fit.
        """
        task, picture = self.restorer.task, read(path)
        if not task.measurable(*picture.size):
            raise InputError(f"{escape(path)} is too small to measure", "leave images of a few pixels out")
        made, truth = task.pair(eight_bit(picture))
        x_picture = read(given) if given else as_picture(made[0])
        if x_picture.size != tuple(made.shape[-2:]):
            raise InputError(f"{escape(given)} has not the size that belongs to {escape(path)}", "check --input")
        return self._figures(x_picture, truth)

    def _figures(self, x_picture: Picture, truth: Tensor) -> dict[str, Any]:
        task, x = self.restorer.task, to_tensor(x_picture)
        drawn = self._restore(x_picture, self.samples, self.temperature)
        results = {
            "temp0": to_tensor(self._restore(x_picture, 1, 0.0).pictures[0]),
            "mean": to_tensor(drawn.mean or drawn.pictures[0]),
            task.baseline_name: task.baseline(x),
        }
        if drawn.log_prob is not None:
            results["best"] = to_tensor(drawn.pictures[drawn.order[0]])
        row: dict[str, Any] = {"results": {name: task.metrics(result, truth) for name, result in results.items()}}
        row["consistency_db"] = fmean(drawn.consistency)
        row["exploded"] = fmean(exploded(to_tensor(p), results[task.baseline_name][0]) for p in drawn.pictures)
        if drawn.log_prob is not None:
            row["bits_per_dim"] = self.restorer.score(x_picture, [as_picture(truth[0])])[0].bits_per_dim
        return row | self._calibration(truth)

    @torch.no_grad()
    def _calibration(self, truth: Tensor) -> dict[str, Any]:
        """Return the coverage of the central intervals and the share of exploded pixels at temperature 1."""
        if not self.calibration:
            return {}
        task, model = self.restorer.task, self.restorer.model
        if model.size.fixed:
            sides = [side * model.scale for side in model.size.fixed]
        else:
            multiple = model.size.multiple_of * model.scale
            sides = [min(side, _CALIBRATION_CROP) // multiple * multiple for side in truth.shape[-2:]]
        if not min(sides) or any(side < kept for side, kept in zip(truth.shape[-2:], sides, strict=True)):
            return {}
        top, left = ((side - kept) // 2 for side, kept in zip(truth.shape[-2:], sides, strict=True))
        x, y = task.pair(truth[..., top : top + sides[0], left : left + sides[1]])
        context = model.encode(x.to(self.restorer.device))
        samples = []
        for k in range(self.calibration):
            noise = model.noise((x.shape[-2], x.shape[-1]), [k], 1.0, self.seed)
            samples.append(model.decode(tuple(e[None].to(self.restorer.device) for e in noise), context).y[0].cpu())
        drawn = torch.cat(samples)
        inside = {f"{level:.0%}": coverage(drawn, y[0], level) for level in _LEVELS}
        return {"coverage": inside, "exploded_temp1": exploded(drawn, task.baseline(x)[0])}

    def summary(self) -> dict[str, Any]:
        """Return the means over the images."""
        means: dict[str, Any] = _mean([{k: v for k, v in row.items() if k != "image"} for row in self.rows])
        return means


def _mean(rows: list[Any]) -> Any:
    if isinstance(rows[0], dict):
        return {key: _mean([row[key] for row in rows if key in row]) for key in rows[0]}
    return fmean(rows)


def eight_bit(picture: Picture) -> Tensor:
    """Return a picture as (1, 3, H, W) at the midpoints of 256 levels, whatever depth it has."""
    pixels = torch.from_numpy(picture.pixels.astype("int32"))
    return midpoints((pixels >> (picture.bits - 8)).permute(2, 0, 1).expand(3, -1, -1)[None])


def _given(inputs: Path | None, name: Path) -> Path | None:
    if inputs is None:
        return None
    if not (inputs / name).is_file():
        what = f"no degraded file {escape(inputs / name)}"
        raise InputError(what, "--input needs a file of the same name for every image")
    return inputs / name


def _check(restorer: Restorer, samples: int, temperature: float) -> None:
    if samples < 1 or temperature < 0:
        raise UsageError("samples must be at least 1 and the temperature at least 0", "try --samples 10 --temp 0.8")
    if not restorer.task.pictures:
        raise UsageError(f"{restorer.task.name} cannot be evaluated yet", "its figures are in the run's metrics.jsonl")


def evaluate(
    restorer: Restorer,
    data: Path,
    inputs: Path | None = None,
    samples: int = 10,
    temperature: float = 0.8,
    seed: int = 0,
    limit: int | None = None,
    calibration: int = 50,
    observer: Observer = lambda done, of, name: None,
) -> dict[str, Any]:
    """Return {task, model, data, images, results, bits_per_dim, coverage, ...}, means over a folder of ground truth.

    An image that cannot be measured is named in ``failed`` and left out; raises its InputError if no image is left.
    """
    _check(restorer, samples, temperature)
    paths = find([data])[:limit]
    evaluation = Evaluation(restorer, samples, temperature, seed, calibration)
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
    protocol = {"samples": samples, "temperature": temperature, "seed": seed, "calibration_samples": calibration}
    head = {
        "task": restorer.task.name,
        "model": restorer.card.recipe.model.name,
        "weights": {"name": restorer.card.name, "sha256": restorer.sha256},
        "data": str(data),
        "images": len(evaluation.rows),
        "failed": [error.what for error in failed],
        "protocol": protocol,
    }
    return head | evaluation.summary() | {"per_image": evaluation.rows}
