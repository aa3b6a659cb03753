"""The field's metrics over a folder of ground truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from .calibrate import calibrated_temperature
from .canvas import Restoration, Settings
from .dataset import as_truth, find, held_out, in_order, load, load_eight_bit, load_with_masks, middle
from .errors import CflowError, InputError, UsageError, escape
from .images import Picture, read, to_tensor
from .metrics.calibration import coverage, exploded
from .metrics.segmentation import Reliability, pooled, reliability
from .models import Sampler
from .restorer import Restorer
from .tasks import Task
from .tasks.noise import is_grey
from .validation import Pair, as_picture
from .validation import drawn as sampled

Observer = Callable[[int, int, str], None]
_LEVELS = (0.5, 0.9)
_CALIBRATION_CROP = 256
_PIXELS_TO_FIT = 2**20


@dataclass(frozen=True)
class Calibrated:
    """The temperature at which intervals of samples hold what they say, and of how many photographs."""

    temperature: float
    fitted_on: int


@dataclass(frozen=True)
class Protocol:
    """How results are made: samples for best and mean, and ``calibration`` ones for coverage, none if 0.

    ``settings`` are the task's, such as the strength of noise; with ``held_out`` only the images that training leaves
    out are measured. Coverage is measured at temperature 1 and, where there is one, at the ``calibrated`` one. Raises
    UsageError for less than one sample or a temperature below 0.
    """

    samples: int = 10
    temperature: float = 0.8
    seed: int = 0
    calibration: int = 50
    held_out: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    calibrated: Calibrated | None = None

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
    """What a user would have of a truth: picture, grey as it is, and mask; the right result, the pixels measured."""

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
        """Return the coverage of the central intervals, and the share of exploded pixels at temperature 1."""
        task, model, samples = self.restorer.task, self.restorer.model, self.protocol.calibration
        pair = _middle(task, model, task.prepare(photo)) if samples and task.levels > 2 else None
        if pair is None:
            return {}
        drawn = self._drawn(pair, 1.0)
        found: dict[str, Any] = {"coverage": _coverage(drawn, pair)}
        if self.protocol.calibrated:
            found["calibrated"] = _coverage(self._drawn(pair, self.protocol.calibrated.temperature), pair)
        if task.near_baseline:
            found["exploded_temp1"] = exploded(task.assemble(pair.x, drawn), task.baseline(pair.x)[0])
        return found

    def _drawn(self, pair: Pair, temperature: float) -> Tensor:
        x = pair.x.to(self.restorer.device)
        return sampled(self.restorer.model, x, temperature, self.protocol.calibration, self.protocol.seed).cpu()

    @torch.no_grad()
    def calibrated(self, photos: Iterable[Tensor]) -> Calibrated:
        """Return the temperature at which the intervals hold as much of prepared photographs as they say.

        The first are taken, a megapixel in all. Raises UsageError where there is none.
        """
        pairs: list[Pair] = []
        for photo in photos:
            if (pair := _middle(self.restorer.task, self.restorer.model, photo)) is not None:
                pairs.append(pair)
            if sum(pair.y[0, 0].numel() for pair in pairs) >= _PIXELS_TO_FIT:
                break
        if not pairs:
            raise UsageError("no photograph to fit a temperature on", "give others, larger ones, none trained on")

        def draw(temperature: float) -> Iterator[tuple[Tensor, Tensor]]:
            for pair in pairs:
                yield _counted(self._drawn(pair, temperature), pair), _counted(pair.y[0], pair)

        return Calibrated(calibrated_temperature(draw), len(pairs))

    def summary(self) -> dict[str, Any]:
        """Return the means over the images, and the reliability of maps of probability over all their pixels."""
        means: dict[str, Any] = _mean([{k: v for k, v in row.items() if k != "image"} for row in self.rows])
        if self.protocol.calibrated and "calibrated" in means:
            means["calibrated"] = asdict(self.protocol.calibrated) | {"coverage": means["calibrated"]}
        return means | ({"reliability": pooled(self.reliability).said()} if self.reliability else {})


def _counted(values: Tensor, pair: Pair) -> Tensor:
    return values if pair.within is None else values[..., pair.within]


def _coverage(drawn: Tensor, pair: Pair) -> dict[str, float]:
    shown, truth = _counted(drawn, pair), _counted(pair.y[0], pair)
    return {f"{level:.0%}": coverage(shown, truth, level) for level in _LEVELS}


def _mean(rows: list[Any]) -> Any:
    if isinstance(rows[0], dict):
        return {key: _mean([row[key] for row in rows if key in row]) for key in rows[0]}
    return fmean(rows)


def _example(task: Task, truth: Tensor) -> Example:
    image, mask, right = task.given(truth)
    within = task.within(task.pair(truth)[0], truth)
    return Example(as_picture(image[0, :1] if is_grey(image) else image[0]), mask, right, within)


def _middle(task: Task, model: Sampler, photo: Tensor) -> Pair | None:
    """Return the pair of the middle of a prepared photograph; None where it is too small, or nothing of it counts."""
    truth = as_truth(photo[None])
    if model.size.fixed:
        sides = [side * model.scale for side in model.size.fixed]
    else:
        multiple = model.size.multiple_of * model.scale
        sides = [min(side, _CALIBRATION_CROP) // multiple * multiple for side in truth.shape[-2:]]
    if not min(sides) or any(side < kept for side, kept in zip(truth.shape[-2:], sides, strict=True)):
        return None
    truth = middle(truth, sides[0], sides[1])
    x, y = task.pair(truth)
    within = task.within(x, truth)
    return None if within is not None and not within.any() else Pair(x, y, within)


def calibrate(restorer: Restorer, folders: Sequence[Path], protocol: Protocol) -> Protocol:
    """Return the protocol with the temperature at which the intervals hold what they say of photographs that neither
    the weight has seen nor its validation: not held out, of other folders than the card's or too small for a crop.

    Raises UsageError where there is none, and for masks, whose reliability is measured instead.
    """
    if restorer.task.levels == 2:
        raise UsageError(f"{restorer.task.name} has no intervals to calibrate", "look at its reliability instead")
    restorer.task.adapt(**protocol.settings)
    photos = (photo for path in in_order(find(folders)) if (photo := _unseen(restorer, path)) is not None)
    return replace(protocol, calibrated=Evaluation(restorer, protocol).calibrated(photos))


def _unseen(restorer: Restorer, path: Path) -> Tensor | None:
    card, task = restorer.card, restorer.task
    try:
        photo = None if held_out(path, task.held_out_share) else load(path, task)
    except InputError:
        return None
    trained_on = bool({data.name for data in card.data} & {*path.parts})
    if photo is None or not task.usable(photo) or (trained_on and min(photo.shape[1:]) >= card.recipe.train.crop):
        return None
    return photo


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
