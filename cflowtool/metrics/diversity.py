"""How far the samples of one input lie from each other, and how far those do that are close to the truth."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Distance = Callable[[Tensor, Tensor], Tensor]


@torch.no_grad()
def diversity(samples: Tensor, distance: Distance) -> float:
    """Mean distance between two samples of one input, over all N (N - 1) / 2 pairs (TIM, section 5.1 and table 4).

    samples (N, C, H, W) in [0, 1]; a symmetric distance, as `make_distance` makes. Raises ValueError unless N >= 2.
    """
    _check(samples)
    rests = [samples[k + 1 :] for k in range(len(samples) - 1)]
    pairs = [distance(one.expand_as(rest), rest) for one, rest in zip(samples, rests, strict=False)]
    return float(torch.cat(pairs).double().mean())


@torch.no_grad()
def faithfulness_weighted_variance(samples: Tensor, truth: Tensor, distance: Distance, bandwidth: float) -> float:
    """Mean distance of the samples from their mean, each weighted by how close it is to the truth (TIM, table 3).

    FWV = 1/N sum_k w_k d(y_k, mean of y), w_k = exp(-d(y_k, y) / (2 bandwidth^2)): d is itself a sum of squared
    distances of features, so w is a Gaussian kernel of them. The weights are not normalised: samples that are all far
    from the truth vary by nothing. The paper names no formula; its bandwidths 0.3, 0.2 and 0.15 are for d = LPIPS.
    samples (N, C, H, W) and truth (C, H, W) in [0, 1]. Raises ValueError unless N >= 2, the shapes agree and the
    bandwidth is positive.
    """
    _check(samples)
    if samples.shape[1:] != truth.shape or not bandwidth > 0:
        raise ValueError(f"truth {tuple(truth.shape)} or bandwidth {bandwidth} does not fit {tuple(samples.shape)}")
    weight = torch.exp(-distance(samples, truth.expand_as(samples)).double() / (2 * bandwidth**2))
    spread = distance(samples, samples.mean(0, keepdim=True).expand_as(samples)).double()
    return float((weight * spread).mean())


def _check(samples: Tensor) -> None:
    if samples.ndim != 4 or len(samples) < 2:
        raise ValueError(f"two or more samples (N, C, H, W) wanted, not {tuple(samples.shape)}")
