"""Learned Gaussian priors as affine maps to standard normal noise, and that noise itself."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from ..nets.coupling import CouplingNet
from .injector import LOG_SCALE_BOUND, AffineInjector
from .transform import Transform, bounded, total

Latent = tuple[Tensor, ...]
_LARGEST_SIDE, _SMALLEST_SIDE, _MOST_VALUES = 64, 4, 2**17
_BLOCKS_KEPT = 64


def standard_normal_log_prob(eps: Tensor) -> Tensor:
    """Return log N(eps; 0, I) = sum(-eps^2 / 2 - log(2 pi) / 2) of (B, C, H, W), shape (B,), in nats."""
    return total(-0.5 * (eps.square() + math.log(2 * math.pi)), eps.shape[0])


class ConditionalPrior(AffineInjector):
    """eps = (z - mu(x)) / sigma(x), so that z ~ N(mu(x), sigma(x)^2) (CNF section 3.1, conditional prior)."""


class ConditionalSplitPrior(Transform):
    """Of [z0, z1]: z0 unchanged, eps1 = (z1 - mu(z0, x)) / sigma(z0, x) (CNF section 3.1, conditional split prior)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.kept = channels // 2
        self.context_channels = width
        self.net = CouplingNet(self.kept, width, 2 * (channels - self.kept))

    def _mean_and_scale(self, kept: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        mean, raw = self.net(kept, context).chunk(2, 1)
        return mean, bounded(raw, LOG_SCALE_BOUND)

    def forward(self, y: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return [z0, (z1 - mu) / sigma] and -sum(log sigma), (B,)."""
        kept, split = y.split((self.kept, y.shape[1] - self.kept), 1)
        mean, log_scale = self._mean_and_scale(kept, context)
        return torch.cat((kept, (split - mean) * (-log_scale).exp()), 1), -total(log_scale, y.shape[0])

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return [z0, mu + sigma eps1] and sum(log sigma), (B,)."""
        kept, split = z.split((self.kept, z.shape[1] - self.kept), 1)
        mean, log_scale = self._mean_and_scale(kept, context)
        return torch.cat((kept, torch.addcmul(mean, split, log_scale.exp())), 1), total(log_scale, z.shape[0])


def _side(channels: int) -> int:
    side = _LARGEST_SIDE
    while side > _SMALLEST_SIDE and channels * side**2 > _MOST_VALUES:
        side //= 2
    return side


# The next image of a folder and the next tile, whose margin overlaps this one's, want the same blocks.
@lru_cache(maxsize=_BLOCKS_KEPT)
def _block(seed: int, sample: int, level: int, channels: int, row: int, column: int) -> Tensor:
    key = hashlib.sha256(f"{seed}/{sample}/{level}/{row}/{column}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "little") >> 1)
    return torch.randn(channels, _side(channels), _side(channels), generator=generator)


class NoiseField:
    """Standard normal noise over an unbounded grid, the same numbers whatever part of it is asked for.

    Value (sample, level, channel, row, column) depends on these, the channel count and ``seed`` alone: the grid is
    cut into blocks of 64 x 64, or less where there are many channels, each with a generator of its own on the CPU. So
    one sample equals itself among ten, a tile's noise is the whole image's, and a large image's noise need never be in
    memory at once.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def draw(self, sample: int, level: int, channels: int, top: int, left: int, height: int, width: int) -> Tensor:
        """Return the noise (channels, height, width) of a rectangle whose corner is (top, left)."""
        side = _side(channels)
        rows = range(top // side, -(-(top + height) // side))
        columns = range(left // side, -(-(left + width) // side))
        grid = [[_block(self.seed, sample, level, channels, r, c) for c in columns] for r in rows]
        whole = torch.cat([torch.cat(row, 2) for row in grid], 1) if len(rows) * len(columns) > 1 else grid[0][0]
        top, left = top - rows.start * side, left - columns.start * side
        return whole[:, top : top + height, left : left + width].clone()

    def latent(
        self, samples: Sequence[int], shapes: Sequence[tuple[int, int, int]], corners: Sequence[tuple[int, int]]
    ) -> Latent:
        """Return one tensor (N, C, h, w) a level, at the levels' own (top, left) corners."""
        return tuple(
            torch.stack([self.draw(k, level, c, top, left, h, w) for k in samples])
            for level, ((c, h, w), (top, left)) in enumerate(zip(shapes, corners, strict=True))
        )
