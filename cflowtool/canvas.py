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
from .tiles import Box, Tile, crop

# Results of a picture's own size are finished so many rows at a time.
_ROWS = 256


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
    """Samples start, start + 1, ... of one image in the order drawn, with what is known of each.

    ``consistency`` is None for a task whose results are not of x's own size.
    """

    pictures: list[Picture]
    indices: list[int]
    log_prob: list[float] | None
    bits_per_dim: list[float] | None
    consistency: list[float] | None
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
class Given:
    """A user's picture as (1, 3, H, W), its x, and how many levels its y has, which bits per dimension count."""

    picture: Picture
    image: Tensor
    x: Tensor
    dims: int
    levels: int


@dataclass(frozen=True)
class Piece:
    """Some samples of one tile: y (n, C, H, W) and x (1, C, h, w) of its outer box, log p (n,) of its core."""

    indices: Sequence[int]
    y: Tensor
    log_prob: Tensor | None
    x: Tensor


class Moments:
    """Mean and, if wanted, standard deviation over samples (n, C, H, W), which come some at a time."""

    def __init__(self, std: bool = True) -> None:
        self.count, self.sum, self.squares = 0, torch.zeros(()), torch.zeros(()) if std else None

    def add(self, values: Tensor) -> None:
        """Take some samples."""
        values = values.double().clamp(0, 1)
        self.count += len(values)
        self.sum = self.sum + values.sum(0)
        if self.squares is not None:
            self.squares = self.squares + values.square().sum(0)

    @property
    def mean(self) -> Tensor:
        """Return the mean (C, H, W)."""
        return self.sum / self.count

    @property
    def std(self) -> Tensor:
        """Return the root of the mean over the channels of the unbiased variance, (1, H, W); 0 for one sample."""
        assert self.squares is not None
        variance = (self.squares / self.count - self.mean.square()).clamp_min(0)
        return (variance * self.count / max(1, self.count - 1)).mean(-3, keepdim=True).sqrt()


class Canvas:
    """Collects the cores of the tiles: levels of every sample, log p, error after degrading again, mean and spread.

    Samples are kept as the picture's own integers, 1 or 2 bytes a value, so that ten samples of a large photograph fit.
    Those of a ``resized`` task are kept as y at its working size until ``result`` brings them to the picture's.
    """

    def __init__(self, given: Given, task: Task, scale: int, settings: Settings, tiled: bool) -> None:
        self.given, self.task, self.scale, self.settings, self.tiled = given, task, scale, settings, tiled
        like, working = given.picture, given.x.shape[-2:]
        own = 1 if like.grey else 3
        self.channels = task.result_channels or own
        self.kind = np.dtype(np.uint8) if task.levels == 2 else like.pixels.dtype
        self.height, self.width = (side * scale for side in (like.size if task.resized else working))
        self.working = working[0] * scale, working[1] * scale
        self.levels: dict[int, Array] = {}
        self.drawn: dict[int, Tensor] = {}
        self.log_prob: dict[int, float] = {}
        self.error: dict[int, float] = {}
        self.error_count = 0
        self.not_finite: set[int] = set()
        # The mean of masks is a probability, finer than any mask.
        fine = np.dtype(np.uint16) if task.levels == 2 else self.kind
        self.mean = self._empty(fine, self.channels) if settings.mean else None
        self.std = self._empty(np.dtype(np.float32), 1) if settings.std else None
        self.notes = [_GREY] if like.grey and not task.result_channels else []

    def _empty(self, kind: np.dtype[np.generic], channels: int) -> Array:
        return np.zeros((self.height, self.width, channels), kind)

    def begin(self) -> None:
        """Start a tile: its mean and spread over the samples are yet to be summed."""
        self.moments = Moments(self.std is not None)

    def _place(self, box: Box) -> tuple[slice, slice]:
        box, size = box.scaled(self.scale), self.working
        bottom, right = min(box.top + box.height, size[0]), min(box.left + box.width, size[1])
        return slice(box.top, bottom), slice(box.left, right)

    def _part(self, values: Tensor, tile: Tile, box: Box) -> Tensor:
        rows, columns = self._place(box)
        part = crop(values, box.relative_to(tile.outer).scaled(self.scale))
        return part[..., : rows.stop - rows.start, : columns.stop - columns.start]

    def _weights(self, tile: Tile) -> Tensor | None:
        rows, columns = self._place(tile.shown)
        found = tile.scaled(self.scale).weights()
        return None if found is None else found[: rows.stop - rows.start, : columns.stop - columns.start]

    def add(self, piece: Piece, tile: Tile) -> None:
        """Take some samples of a tile, blended into what is there already where it reaches beyond its core."""
        shown = piece.y if self.task.resized else self._shown(self.task.assemble(piece.x, piece.y))
        part, place, weights = self._part(shown, tile, tile.shown), self._place(tile.shown), self._weights(tile)
        finite = part.isfinite().flatten(1).all(1).tolist()
        self.not_finite |= {k for k, good in zip(piece.indices, finite, strict=True) if not good}
        for i, k in enumerate(piece.indices):
            if piece.log_prob is not None:
                self.log_prob[k] = self.log_prob.get(k, 0.0) + float(piece.log_prob[i])
        if self.task.resized:
            self._keep(piece.indices, part, place, weights)
        else:
            self._paint(piece.indices, part, place, weights)
            self._compare(piece, shown, tile)

    def _shown(self, values: Tensor) -> Tensor:
        return values.mean(-3, keepdim=True) if self.channels == 1 else values

    def _keep(self, indices: Sequence[int], part: Tensor, place: tuple[slice, slice], weights: Tensor | None) -> None:
        for i, k in enumerate(indices):
            whole = self.drawn.setdefault(k, part.new_zeros(part.shape[1], *self.working))[:, place[0], place[1]]
            whole.copy_(part[i] if weights is None else whole + weights * (part[i] - whole))

    def _paint(self, indices: Sequence[int], part: Tensor, place: tuple[slice, slice], weights: Tensor | None) -> None:
        for i, k in enumerate(indices):
            whole = self.levels.setdefault(k, self._empty(self.kind, self.channels))
            if k not in self.not_finite:
                _write(whole[place], part[i], weights)
        if self.mean is not None or self.std is not None:
            self.moments.add(part)

    def _compare(self, piece: Piece, shown: Tensor, tile: Tile) -> None:
        """Add up the squares of each result, degraded again, minus x."""
        if self.task.levels == 2:
            return
        shown = quantise(shown, self.given.picture.levels).expand(-1, 3, -1, -1)
        error = crop(self.task.degraded_error(piece.x, shown).double(), tile.core.relative_to(tile.outer))
        rows, columns = self._place(tile.core)
        error = error[..., : (rows.stop - rows.start) // self.scale, : (columns.stop - columns.start) // self.scale]
        for i, k in enumerate(piece.indices):
            self.error[k] = self.error.get(k, 0.0) + float(error[i].square().sum())
        self.error_count += error[0].numel() if piece.indices[0] == self.settings.start else 0

    def end(self, tile: Tile) -> None:
        """Finish a tile: write its mean and spread."""
        if self.moments.count:
            self._summarise(self._place(tile.shown), self._weights(tile))

    def _summarise(self, place: tuple[slice, slice], weights: Tensor | None) -> None:
        if self.mean is not None:
            _write(self.mean[place], self.moments.mean, weights)
        if self.std is not None:
            new, old = self.moments.std.movedim(-3, -1).float().numpy(), self.std[place]
            old[...] = new if weights is None else old + weights[..., None].numpy() * (new - old)

    def _finish(self) -> None:
        """Bring the samples of a resized task to the picture's size."""
        given = self.given
        rows_of = {k: self.task.finisher(given.image, given.x, y[None]) for k, y in self.drawn.items()}
        for top in range(0, self.height, _ROWS):
            rows = slice(top, min(top + _ROWS, self.height))
            self.begin()
            for k, finished in rows_of.items():
                self._paint([k], finished(rows), (rows, slice(None)), None)
            if self.moments.count:
                self._summarise((rows, slice(None)), None)

    def _restore_known(self) -> None:
        """Copy what the user's picture knows already, bit for bit."""
        known = self.task.known(self.given.x)
        if known is None:
            return
        at = known.cpu().numpy()[..., None]
        for whole in (*self.levels.values(), *(() if self.mean is None else (self.mean,))):
            np.copyto(whole, self.given.picture.pixels, where=at)
        if self.std is not None:
            np.copyto(self.std, 0, where=at)

    def result(self) -> Restoration:
        """Return the finished samples in the order drawn."""
        self._finish() if self.task.resized else None
        self._restore_known()
        indices = self.settings.indices
        log_prob = [self.log_prob[k] for k in indices] if self.log_prob else None
        errors = [self.error[k] / self.error_count for k in indices] if self.error_count else None
        return Restoration(
            pictures=[self._picture(self.levels[k]) for k in indices],
            indices=indices,
            log_prob=log_prob,
            bits_per_dim=self._bits(log_prob),
            consistency=None if errors is None else [decibels(error) for error in errors],
            tiled=self.tiled,
            mean=None if self.mean is None else self._picture(self.mean),
            std=None if self.std is None else self.std[..., 0],
            notes=self.notes,
        )

    def _picture(self, pixels: Array) -> Picture:
        like = self.given.picture
        return with_pixels(pixels, replace(like, alpha=None) if self.task.levels == 2 else like)

    def _bits(self, log_prob: list[float] | None) -> list[float] | None:
        # A learned dequantizer's bits are a bound that decoding does not gather: dims is 0 then.
        if log_prob is None or not self.given.dims:
            return None
        found: list[float] = bits_per_dim(torch.tensor(log_prob).double(), self.given.dims, self.given.levels).tolist()
        return found


def _write(whole: Array, values: Tensor, weights: Tensor | None) -> None:
    """Write the levels of values (C, H, W) in [0, 1] into a part (H, W, C) of a picture, by their weights (H, W)."""
    levels = 1 << (8 * whole.dtype.itemsize)
    scaled = values.double() * levels
    if weights is not None:
        there = torch.from_numpy(whole.astype(np.float64)).movedim(-1, -3).add_(0.5)
        scaled = there + weights * (scaled - there)
    whole[...] = scaled.floor_().clamp_(0, levels - 1).movedim(-3, -1).numpy().astype(whole.dtype)


def decibels(mean_square: float) -> float:
    """Return -10 log10 of a mean squared error of values in [0, 1], at most 100 dB."""
    return float(-10 * np.log10(max(mean_square, 1e-10)))
