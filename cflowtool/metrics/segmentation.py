"""How good a map of probabilities or a mask is against a mask: precision, recall, F-score, IoU and reliability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class PrecisionRecall:
    """The curve of precision and recall over all thresholds (K,), ascending: a pixel is found when p >= threshold."""

    thresholds: Tensor
    precision: Tensor
    recall: Tensor

    @property
    def f_score(self) -> Tensor:
        """F = 2 precision recall / (precision + recall) (K,), 0 where both are."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both.where(both > 0, torch.ones_like(both))

    @property
    def best(self) -> tuple[float, float]:
        """The maximal F-score along the curve (CNF, table 3) and the highest threshold that reaches it."""
        f_score = self.f_score
        index = int(torch.nonzero(f_score == f_score.max())[-1])
        return float(f_score[index]), float(self.thresholds[index])


@dataclass(frozen=True)
class Reliability:
    """By bin of probability (K,): the number of pixels, their mean probability and the share that is true; the two are
    nan in an empty bin."""

    count: Tensor
    predicted: Tensor
    observed: Tensor

    @property
    def error(self) -> float:
        """Expected calibration error, sum over bins of count / total |predicted - observed|, in [0, 1]."""
        gap = (self.predicted - self.observed).abs().nan_to_num()
        return float((gap * self.count).sum() / self.count.sum())

    def said(self) -> dict[str, Any]:
        """The error and the bins as plain lists, None where a bin is empty."""
        bins = {"predicted": self.predicted.tolist(), "observed": self.observed.tolist()}
        lists = {key: [None if value != value else value for value in values] for key, values in bins.items()}
        return {"error": self.error, "count": self.count.tolist(), **lists}


def precision_recall_curve(probability: Tensor, truth: Tensor, inside: Tensor | None = None) -> PrecisionRecall:
    """Precision TP / (TP + FP) and recall TP / (TP + FN) at every value that `probability` takes (CNF, figure 6).

    probability, the mask `truth` and the field of view `inside` have one shape; the pixels of all images in it make one
    curve and those outside are not counted. Raises ValueError on unequal shapes, nan, or a truth with nothing to find.
    """
    p, y = _counted(probability, truth, inside)
    if not y.any():
        raise ValueError("the truth has nothing to find inside the field of view")
    thresholds, place = p.unique(return_inverse=True)
    found = _at_least(torch.bincount(place).double())
    true = _at_least(torch.bincount(place, y.double()))
    return PrecisionRecall(thresholds, true / found, true / y.sum())


def precision_recall(masks: Tensor, truth: Tensor, inside: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Precision and recall (N,) of each of N masks (N, H, W), one point a sample (CNF, figure 6, right).

    The precision of an empty mask is 1. truth and inside (H, W). Raises ValueError on unequal shapes, values that are
    not 0 or 1, or a truth with nothing to find.
    """
    hit, found, true = _overlap(masks, truth, inside)
    if not true:
        raise ValueError("the truth has nothing to find inside the field of view")
    return torch.where(found > 0, hit / found.clamp(min=1), 1.0), hit / true


def iou(masks: Tensor, truth: Tensor, inside: Tensor | None = None) -> Tensor:
    """Intersection over union (N,) of each of N masks (N, H, W) with the truth (H, W), 1 where both are empty (c-Glow,
    table 1); arguments and errors otherwise as in `precision_recall`."""
    hit, found, true = _overlap(masks, truth, inside)
    union = found + true - hit
    return torch.where(union > 0, hit / union.clamp(min=1), 1.0)


def reliability(probability: Tensor, truth: Tensor, inside: Tensor | None = None, bins: int = 10) -> Reliability:
    """What a map says against what is, in `bins` bins [k, k + 1) / bins of equal width, the last one closed.

    Shapes as in `precision_recall_curve`. Raises ValueError on unequal shapes and values outside [0, 1].
    """
    p, y = _counted(probability, truth, inside)
    if bins < 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError("probabilities in [0, 1] and one bin or more wanted")
    place = (p.double() * bins).long().clamp(max=bins - 1)
    count, predicted, observed = (torch.bincount(place, w, bins) for w in (None, p.double(), y.double()))
    return Reliability(count, predicted / count, observed / count)


def pooled(parts: Sequence[Reliability]) -> Reliability:
    """What the pixels of several maps say together, in the same bins; raises ValueError for none."""
    if not parts:
        raise ValueError("no maps to pool")
    counts = torch.stack([part.count for part in parts])
    sums = [
        torch.stack([of(part) for part in parts]).nan_to_num() * counts
        for of in (attrgetter("predicted"), attrgetter("observed"))
    ]
    predicted, observed = (values.sum(0) / counts.sum(0) for values in sums)
    return Reliability(counts.sum(0), predicted, observed)


def _at_least(by_value: Tensor) -> Tensor:
    return by_value.flip(0).cumsum(0).flip(0)


def _overlap(masks: Tensor, truth: Tensor, inside: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    if masks.ndim != 3 or masks.shape[1:] != truth.shape:
        raise ValueError(f"masks (N, H, W) wanted for {tuple(truth.shape)}, not {tuple(masks.shape)}")
    y, seen = _mask(truth), torch.ones_like(truth, dtype=torch.bool) if inside is None else _mask(inside)
    found = _mask(masks) & seen
    return (found & y).sum((1, 2)).double(), found.sum((1, 2)).double(), (y & seen).sum().double()


def _counted(probability: Tensor, truth: Tensor, inside: Tensor | None) -> tuple[Tensor, Tensor]:
    seen = torch.ones_like(truth, dtype=torch.bool) if inside is None else _mask(inside)
    if not probability.shape == truth.shape == seen.shape:
        raise ValueError(f"shapes differ: {tuple(probability.shape)}, {tuple(truth.shape)}, {tuple(seen.shape)}")
    if probability.isnan().any() or not seen.any():
        raise ValueError("probabilities hold nan, or the field of view is empty")
    return probability[seen], _mask(truth)[seen]


def _mask(values: Tensor) -> Tensor:
    if values.dtype == torch.bool:
        return values
    if not ((values == 0) | (values == 1)).all():
        raise ValueError("a mask holds 0 and 1 (or False and True) only")
    return values.bool()
