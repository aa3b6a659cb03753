"""After training: how far samples must be spread so that their central intervals hold what they say."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .metrics.calibration import coverage
from .models import CNF, Sampler
from .recipes import Recipe, make_task

_SAMPLES = 50
_LEVELS = (0.5, 0.9)
_SMALLEST, _LARGEST, _HALVINGS = 0.5, 2.0, 20


@torch.no_grad()
def residuals(model: CNF, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return samples (N, C, H, W) and truth (C, H, W) of one image, both minus the shift they are spread around."""
    shift = model.encode(x)[0].chunk(2, 1)[0][0]
    drawn = model.sample(x, _SAMPLES, 1.0, 0).y[0]
    return (drawn - shift).cpu(), (y[0] - shift).cpu()


def excess(pairs: Sequence[tuple[Tensor, Tensor]], factor: float) -> float:
    """Return by how much the intervals of the widened samples hold too much of the truth, both levels added up."""
    found = [sum(coverage(factor * drawn, truth, level) - level for level in _LEVELS) for drawn, truth in pairs]
    return sum(found) / len(found)


def fit_spread(pairs: Sequence[tuple[Tensor, Tensor]]) -> float:
    """Return the factor, from 1/2 to 2, at which the excess of the 50 % and 90 % intervals cancels, by bisection."""
    low, high = _SMALLEST, _LARGEST
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if excess(pairs, middle) < 0 else (low, middle)
    return round(math.sqrt(low * high), 4)


def calibrated(recipe: Recipe, model: Sampler, pairs: Sequence[tuple[Tensor, Tensor]]) -> Recipe:
    """Return the recipe with the model's spread fitted on (x, y) of training photographs; others keep theirs."""
    if not isinstance(model, CNF) or model.config.shift == "none" or make_task(recipe).levels == 2:
        return recipe
    factor = fit_spread([residuals(model, x, y) for x, y in pairs])
    config = {**recipe.model.config, "spread": model.config.spread * factor}
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"config": config})})
