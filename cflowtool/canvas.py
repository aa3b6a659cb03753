"""Where the tiles of all samples of one image come together, at the image's own depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from .images import Picture, quantise, with_pixels
from .images.picture import Array
from .metrics.likelihood import bits_per_dim
from .tasks import Task
from .tiles import Tile, crop


@dataclass(frozen=True)
class Settings:
    """Which samples to draw, and which summaries to keep."""

    samples: int = 1
    temperature: float = 0.0
    seed: int = 0
    start: int = 0
    mean: bool = False
    std: bool = False

    @property
    def indices(self) -> list[int]:
        """Return start, start + 1, ..., one a sample."""
        return list(range(self.start, self.start + self.samples))


@dataclass
class Restoration:
    """Samples start, start + 1, ... of one image in the order drawn, with what is known of each."""

    pictures: list[Picture]
    indices: list[int]
    log_prob: list[float] | None
    bits_per_dim: list[float] | None
    consistency: list[float]
    tiled: bool
    mean: Picture | None = None
    std: Array | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def order(self) -> list[int]:
        """Return the samples' positions, most likely first; as drawn when the model has no likelihood."""
        if self.log_prob is None:
            return list(range(len(self.pictures)))
        return sorted(range(len(self.pictures)), key=lambda i: -self.log_prob[i])  # type: ignore[index]


_GREY = "log_prob is of the colour sample; the picture is its mean over the channels"


@dataclass(frozen=True)
class Piece:
    """Some samples of one tile: y (n, C, H, W) and x (1, C, h, w) of its outer box, log p (n,) of its core."""

    indices: Sequence[int]
    y: Tensor
    log_prob: Tensor | None
    x: Tensor


class Canvas:
    """Collects the cores of the tiles: levels of every sample, log p, error after degrading again, mean and spread.

    Samples are kept as the picture's own integers, 1 or 2 bytes a value, so that ten samples of a large photograph fit.
    """

    def __init__(
        self, like: Picture, x: Tensor, dims: int, task: Task, scale: int, settings: Settings, tiled: bool
    ) -> None:
        self.like, self.task, self.scale, self.indices, self.tiled = like, task, scale, settings.indices, tiled
        self.dims = dims
        self.height, self.width = x.shape[-2] * scale, x.shape[-1] * scale
        self.channels = 1 if like.grey else 3
        self.levels: dict[int, Array] = {}
        self.log_prob: dict[int, float] = {}
        self.error: dict[int, float] = {}
        self.error_count = x[0].numel()
        self.not_finite: set[int] = set()
        self.mean = self._empty(like.pixels.dtype, self.channels) if settings.mean else None
        self.std = self._empty(np.dtype(np.float32), 1) if settings.std else None
        self.notes = [_GREY] if like.grey else []

    def _empty(self, kind: np.dtype[np.generic], channels: int) -> Array:
        return np.zeros((self.height, self.width, channels), kind)

    def begin(self) -> None:
        """Start a tile: its mean and spread over the samples are yet to be summed."""
        self.count, self.sum, self.squares = 0, torch.zeros(()), torch.zeros(())

    def _cut(self, tile: Tile) -> tuple[slice, slice]:
        box = tile.core.scaled(self.scale)
        bottom, right = min(box.top + box.height, self.height), min(box.left + box.width, self.width)
        return slice(box.top, bottom), slice(box.left, right)

    def _core(self, y: Tensor, tile: Tile) -> Tensor:
        rows, columns = self._cut(tile)
        core = crop(y, tile.core.relative_to(tile.outer).scaled(self.scale))
        return core[..., : rows.stop - rows.start, : columns.stop - columns.start]

    def _integers(self, y: Tensor) -> Array:
        values = (y.double() * self.like.levels).floor().clamp(0, self.like.levels - 1)
        return values.movedim(-3, -1).numpy().astype(self.like.pixels.dtype)

    def add(self, piece: Piece, tile: Tile) -> None:
        """Take a tile's cores of some samples."""
        y = piece.y.mean(-3, keepdim=True) if self.like.grey else piece.y
        piece = replace(piece, y=y.expand_as(piece.y))
        core = self._core(y, tile)
        finite = core.isfinite().flatten(1).all(1).tolist()
        self.not_finite |= {k for k, good in zip(piece.indices, finite, strict=True) if not good}
        errors = self._degraded_errors(piece, tile)
        rows, columns = self._cut(tile)
        for i, k in enumerate(piece.indices):
            whole = self.levels.setdefault(k, self._empty(self.like.pixels.dtype, self.channels))
            if k in self.not_finite:
                continue
            whole[rows, columns] = self._integers(core[i])
            self.error[k] = self.error.get(k, 0.0) + float(errors[i])
            if piece.log_prob is not None:
                self.log_prob[k] = self.log_prob.get(k, 0.0) + float(piece.log_prob[i])
        if self.mean is not None or self.std is not None:
            self._accumulate(core)

    def _degraded_errors(self, piece: Piece, tile: Tile) -> Tensor:
        error = self.task.degraded_error(piece.x, quantise(piece.y, self.like.levels)).double()
        rows, columns = self._cut(tile)
        core = crop(error, tile.core.relative_to(tile.outer))
        core = core[..., : (rows.stop - rows.start) // self.scale, : (columns.stop - columns.start) // self.scale]
        return core.square().flatten(1).sum(1)

    def _accumulate(self, core: Tensor) -> None:
        values = core.double().clamp(0, 1)
        self.count += len(values)
        self.sum = self.sum + values.sum(0)
        self.squares = self.squares + values.square().sum(0)

    def end(self, tile: Tile) -> None:
        """Finish a tile: write its mean and spread."""
        if not self.count:
            return
        rows, columns = self._cut(tile)
        mean = self.sum / self.count
        if self.mean is not None:
            self.mean[rows, columns] = self._integers(mean)
        if self.std is not None:
            variance = (self.squares / self.count - mean.square()).clamp_min(0) * self.count / max(1, self.count - 1)
            self.std[rows, columns] = variance.mean(-3, keepdim=True).sqrt().movedim(-3, -1).float().numpy()

    def result(self) -> Restoration:
        """Return the finished samples in the order drawn."""
        indices = self.indices
        log_prob = [self.log_prob[k] for k in indices] if self.log_prob else None
        log_probs = torch.tensor(log_prob, dtype=torch.float64) if log_prob else None
        # A learned dequantizer's bits are a bound that decoding does not gather: dims is 0 then.
        bits = bits_per_dim(log_probs, self.dims, self.like.levels) if log_probs is not None and self.dims else None
        return Restoration(
            pictures=[with_pixels(self.levels[k], self.like) for k in indices],
            indices=indices,
            log_prob=log_prob,
            bits_per_dim=None if bits is None else bits.tolist(),
            consistency=[decibels(self.error[k] / self.error_count) for k in indices],
            tiled=self.tiled,
            mean=None if self.mean is None else with_pixels(self.mean, self.like),
            std=None if self.std is None else self.std[..., 0],
            notes=self.notes,
        )


def decibels(mean_square: float) -> float:
    """Return -10 log10 of a mean squared error of values in [0, 1], at most 100 dB."""
    return float(-10 * np.log10(max(mean_square, 1e-10)))
