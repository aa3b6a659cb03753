"""After training: how samples must be spread to hold what they say, and where the mean of masks is to be cut."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeGuard

import torch
from torch import Tensor

from .dataset import as_truth, padded
from .metrics.calibration import coverage
from .metrics.segmentation import precision_recall_curve
from .models import CAFLOW, CNF, Sampler
from .models.binary import Binary
from .recipes import Recipe, make_task
from .tasks import Task

Pairs = Sequence[tuple[Tensor, Tensor]]
Draw = Callable[[float], Iterable[tuple[Tensor, Tensor]]]

_SAMPLES = 50
_LEVELS = (0.5, 0.9)
_SMALLEST, _LARGEST, _HALVINGS = 0.5, 2.0, 20
_HALVINGS_OF_TEMPERATURE = 6
_PHOTOS, _MASKS = 12, 16


def can_spread(model: Sampler) -> TypeGuard[CNF | CAFLOW]:
    """Return whether a model's samples can be widened around a shift, exactly: it has an injector behind one."""
    return isinstance(model, CNF | CAFLOW) and hasattr(model, "injector") and model.config.shift != "none"


@torch.no_grad()
def residuals(model: CNF | CAFLOW, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return samples (N, C, H, W) and truth (C, H, W) of one image, both minus the shift they are spread around.

    Of a model of holes, these are the values in the hole alone, (N, C, K) and (C, K).
    """
    shift = model.encode(x)[0].chunk(2, 1)[0][0]
    drawn, truth = model.sample(x, _SAMPLES, 1.0, 0).y[0] - shift, y[0] - shift
    if isinstance(model, CNF) and model.config.hole:
        drawn, truth = drawn[..., x[0, -1] > 0.5], truth[..., x[0, -1] > 0.5]
    return drawn.cpu(), truth.cpu()


def excess(pairs: Iterable[tuple[Tensor, Tensor]], factor: float = 1.0) -> float:
    """Return by how much the intervals of the widened samples hold too much of the truth, both levels added up."""
    found = [sum(coverage(factor * drawn, truth, level) - level for level in _LEVELS) for drawn, truth in pairs]
    return sum(found) / len(found)


def fit_spread(pairs: Pairs) -> float:
    """Return the factor, from 1/2 to 2, at which the excess of the 50 % and 90 % intervals cancels, by bisection."""
    return _root(lambda factor: excess(pairs, factor), _HALVINGS)


def calibrated_temperature(draw: Draw) -> float:
    """Return the temperature, from 1/2 to 2, at which that excess cancels, by bisection; ``draw`` gives samples (N,
    ...) at a temperature, each image's with its truth (...).

    Other than the spread it changes nothing of the model, whose log_prob stays that of temperature 1.
    """
    return _root(lambda temperature: excess(draw(temperature)), _HALVINGS_OF_TEMPERATURE)


def _root(rising: Callable[[float], float], halvings: int) -> float:
    low, high = _SMALLEST, _LARGEST
    for _ in range(halvings):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return round(math.sqrt(low * high), 4)


def best_threshold(maps: Sequence[tuple[Tensor, Tensor, Tensor]]) -> float:
    """Return the threshold on maps of probability at which the F-score of all their pixels together is largest.

    Each comes with its truth and the pixels that count, (H, W). The threshold lies halfway between the lowest value
    that is found and the highest that is not, so that it is the same for maps rounded to some bits.
    """
    kinds = [torch.cat([plane.flatten() for plane in planes]) for planes in zip(*maps, strict=True)]
    curve = precision_recall_curve(kinds[0], kinds[1], kinds[2])
    best = curve.best[1]
    below = curve.thresholds[curve.thresholds < best]
    return round((best + (float(below.max()) if len(below) else 0.0)) / 2, 4)


def calibrated(recipe: Recipe, model: Sampler, pairs: Pairs) -> Recipe:
    """Return the recipe with the model's spread fitted on (x, y) of training photographs; others keep theirs."""
    if not can_spread(model) or make_task(recipe).levels == 2:
        return recipe
    factor = fit_spread([residuals(model, x, y) for x, y in pairs])
    config = {**recipe.model.config, "spread": model.config.spread * factor}
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"config": config})})


def thresholded(recipe: Recipe, model: Sampler, photos: Sequence[Tensor]) -> Recipe:
    """Return the recipe with the threshold of masks fitted on up to 12 of the training photographs, uint8 (C, H, W), as
    prepared and whole: on the means of 16 samples at temperature 1. Recipes of other tasks stay as they are."""
    if not isinstance(model, Binary):
        return recipe
    task, device = make_task(recipe), next(model.parameters()).device
    chosen = photos[:: max(1, len(photos) // _PHOTOS)][:_PHOTOS]
    threshold = best_threshold([_map(task, model, photo, device) for photo in chosen])
    return recipe.model_copy(update={"defaults": recipe.defaults.model_copy(update={"threshold": threshold})})


def _map(task: Task, model: Binary, photo: Tensor, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    multiple = model.size.multiple_of
    truth = as_truth(padded(photo, *(-(-side // multiple) * multiple for side in photo.shape[1:]))[None])
    x, y = task.pair(truth)
    within = task.within(x, truth)
    mean = model.probability(x.to(device), _MASKS).cpu()[0, 0]
    return mean, y[0, 0], torch.ones_like(mean, dtype=torch.bool) if within is None else within
