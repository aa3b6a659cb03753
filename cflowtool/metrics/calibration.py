"""Whether the spread of the samples is the spread of the truth, and how many of them have run away."""

from __future__ import annotations

import torch
from torch import Tensor


def coverage(samples: Tensor, truth: Tensor, level: float) -> float:
    """Share of the true values inside the central interval of probability `level` of their N samples.

    The interval reaches from order statistic (N + 1)(1 - level) / 2 to (N + 1)(1 + level) / 2. Between two order
    statistics the counts of both are mixed, by the part of the rank cell [r, r + 1] / (N + 1) that the interval
    holds, so that a truth exchangeable with its samples is covered with probability `level` exactly, whatever its
    distribution and N; equal values share their cells. samples (N, C, H, W), truth (C, H, W), same units.
    Raises ValueError when level > (N - 1) / (N + 1), which N samples cannot resolve: 0.9 needs 19 of them.
    """
    n = _count(samples, truth)
    if not 0 < level <= (n - 1) / (n + 1) + 1e-9:
        raise ValueError(f"{n} samples resolve levels in (0, {(n - 1) / (n + 1):.3f}], not {level}")
    first = (samples < truth).sum(0).double() / (n + 1)
    last = ((samples <= truth).sum(0).double() + 1) / (n + 1)
    low, high = (1 - level) / 2, (1 + level) / 2
    inside = (last.clamp(max=high) - first.clamp(min=low)).clamp(min=0)
    return float((inside / (last - first)).mean())


def exploded(samples: Tensor, base: Tensor, threshold: float = 0.45) -> float:
    """Share of the pixels of all samples (N, C, H, W) that differ from `base` (C, H, W) by more than `threshold`
    in any channel, or are not finite; all values in [0, 1] units."""
    _count(samples, base)
    calm = ((samples - base).abs() <= threshold).all(dim=-3)
    return 1 - float(calm.double().mean())


def _count(samples: Tensor, truth: Tensor) -> int:
    if samples.ndim != truth.ndim + 1 or samples.shape[1:] != truth.shape or not len(samples):
        raise ValueError(f"samples (N, C, H, W) wanted for {tuple(truth.shape)}, not {tuple(samples.shape)}")
    if torch.isnan(truth).any():
        raise ValueError("the image to compare with holds NaN")
    return len(samples)
