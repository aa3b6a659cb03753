"""Distances between two sets of images, on the features of EfficientNet-lite0: never to be called FID or KID alone."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from cflowtool.errors import UsageError
from cflowtool.metrics.perceptual import lite0_features

Batches = Iterable[Tensor]


def kid_lite0(real: Batches, fake: Batches, subsets: int = 100, seed: int = 0) -> tuple[float, float]:
    """KID of two sets of RGB images, batches (B, 3, H, W) in [0, 1], on lite0 features: `kid` says what it is."""
    return kid(set_features(real), set_features(fake), subsets, seed)


def fid_lite0(real: Batches, fake: Batches) -> float:
    """FID of two sets of RGB images, batches (B, 3, H, W) in [0, 1], on lite0 features: `fid` says what it is."""
    return fid(set_features(real), set_features(fake))


def set_features(batches: Batches) -> Tensor:
    """lite0 features (N, 1280), float64 on the CPU, of all images of the batches (B, 3, H, W) in [0, 1]."""
    return torch.cat([lite0_features(batch).double().cpu() for batch in batches])


def kid(real: Tensor, fake: Tensor, subsets: int = 100, seed: int = 0) -> tuple[float, float]:
    """Mean and standard deviation over subsets of the squared MMD of features (N, D) and (M, D), with the kernel
    (a . b / D + 1)^3 (Binkowski et al. 2018, equation 4).

    Unbiased: 0 on average for sets of one distribution, whatever their sizes, and so at times negative. The subsets
    have min(N, M, 1000) images, drawn from `seed`; where that is all of both, one holds everything. Raises ValueError
    for fewer than two images and UsageError without the extra `perceptual`.
    """
    _check(real, fake)
    size = min(len(real), len(fake), 1000)
    if size == len(real) == len(fake):
        subsets = 1
    with warnings.catch_warnings(action="ignore"), torch.random.fork_rng(devices=[]):
        metric = _torchmetrics()["kid"](nn.Identity(), subsets=subsets, subset_size=size)
        torch.manual_seed(seed)
        mean, deviation = _measure(metric, real, fake)
    return float(mean), float(deviation)


def fid(real: Tensor, fake: Tensor) -> float:
    """Squared Frechet distance of the Gaussians fitted to features (N, D) and (M, D), |m - m'|^2 + tr(S + S' -
    2 (S S')^(1/2)) (Heusel et al. 2017, equation 6).

    Biased upwards the more the smaller the sets: compare equal numbers of images only. Raises ValueError for fewer than
    two images and UsageError without the extra `perceptual`.
    """
    _check(real, fake)
    return float(_measure(_torchmetrics()["fid"](_Given(real.shape[1])), real, fake))


class _Given(nn.Identity):
    """Stands where torchmetrics expects a network: the features are already there."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.num_features = features


def _torchmetrics() -> dict[str, Any]:
    try:
        from torchmetrics.image.fid import FrechetInceptionDistance
        from torchmetrics.image.kid import KernelInceptionDistance
    except ImportError as error:
        raise UsageError("KID and FID need the extra perceptual", "pip install 'cflowtool[perceptual]'") from error
    return {"fid": FrechetInceptionDistance, "kid": KernelInceptionDistance}


def _measure(metric: Any, real: Tensor, fake: Tensor) -> Any:
    metric.update(real.double(), real=True)
    metric.update(fake.double(), real=False)
    return metric.compute()


def _check(real: Tensor, fake: Tensor) -> None:
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1] or min(len(real), len(fake)) < 2:
        raise ValueError(f"features (N, D), (M, D) of two or more wanted, not {tuple(real.shape)}, {tuple(fake.shape)}")
