"""One image to ranked candidates, whole or in tiles."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from .canvas import Canvas, Given, Piece, Restoration, Settings
from .device import choose_device
from .errors import CflowError, InputError, NoLikelihood, UsageError, escape
from .flows.dequantize import uniform_dequantize
from .flows.pyramid import Context
from .flows.transform import Region, counted
from .images import Picture, to_tensor
from .metrics.likelihood import bits_per_dim
from .models import CNF, Density
from .models.binary import Binary
from .recipes import make_task
from .tiles import Tile, crop, mirror_to, pad_to_multiple, plan, plan_fixed
from .weights import Loaded

# Bytes that a context and one sample's decoding take for each pixel of the result (docs/decisions/tiles.md).
_CONTEXT_BYTES = 600
_DECODE_BYTES = 330
_BUDGET = 2 * 2**30
_MARGIN = 24
# A model of one size keeps this share of its side, at both ends, as margin.
_FIXED_MARGIN = 8
_RETRY = 1 << 40
# A model of holes counts log 256 for each value that is known, whatever the picture's depth.
_KNOWN_LEVELS = 256


@dataclass(frozen=True)
class Score:
    """log p(y|x) of a candidate in nats, the same in bits per dimension, and the standard error of the former."""

    log_prob: float
    bits_per_dim: float
    standard_error: float = 0.0


class Restorer:
    """A loaded weight at work on one device: restores pictures and scores candidates."""

    def __init__(self, loaded: Loaded, device: str = "auto", precision: str = "auto", tile: str = "auto") -> None:
        self.card, self.sha256, self.path = loaded.card, loaded.sha256, loaded.path
        self.task = make_task(loaded.card.recipe)
        self.device = choose_device(device)
        self.model = loaded.model.to(self.device)
        self.precision: Literal["fp32", "bf16"] = "bf16" if precision == "bf16" else "fp32"
        self.tile = tile

    def _autocast(self) -> torch.autocast | nullcontext[None]:
        return torch.autocast(self.device.type, torch.bfloat16) if self.precision == "bf16" else nullcontext()

    def tiles(self, height: int, width: int) -> list[Tile]:
        """Return the tiles, on x's grid, that a padded x of this size is cut into; one when it fits."""
        multiple, side = self.model.size.multiple_of, max(height, width)
        if self.model.size.fixed:
            return self._tiles_of(self.model.size.fixed, height, width)
        if self.tile == "auto":
            side = min(side, math.isqrt(_BUDGET // (_CONTEXT_BYTES + _DECODE_BYTES)) // self.model.scale)
        elif self.tile != "off":
            side = int(self.tile)
        margin = min(self.model.reach, _MARGIN)
        try:
            return plan(height, width, max(side, multiple), margin, multiple)
        except ValueError as error:
            raise UsageError(f"--tile {escape(self.tile)}: {error}", "use a larger tile, or --tile auto") from error

    def _tiles_of(self, size: tuple[int, int], height: int, width: int) -> list[Tile]:
        if self.tile != "auto":
            what = f"--tile {escape(self.tile)}: this model works on {size[0]} x {size[1]} pixels alone"
            raise UsageError(what, "use --tile auto")
        multiple, side = self.model.size.multiple_of, min(size)
        room = (side // multiple - 1) // 2 * multiple
        return plan_fixed(height, width, size, min(side // _FIXED_MARGIN, room), multiple)

    def _padded(self, image: Tensor, scale: int = 1) -> Tensor:
        """Return an image at ``scale`` times x's size, padded to a size that tiles can be cut from.

        Raises InputError where there is nothing to cut: a model of a part of y knows one size and no other.
        """
        model = self.model
        if model.size.fixed:
            height, width = (side * scale for side in model.size.fixed)
            values = model.channels * math.prod(model.size.fixed) * model.scale**2
            if tuple(image.shape[-2:]) != (height, width) and model.dims(*model.size.fixed) < values:
                what = f"this model restores the centre of pictures of {height} x {width} pixels alone"
                raise InputError(what, "resize the picture, or choose another --model")
            image = mirror_to(image, (height, width))
        return pad_to_multiple(image, model.size.multiple_of * scale)

    def _chunk(self, tile: Tile) -> int:
        """Return how many samples to decode at once: on a CPU one, which is as fast and always has the same bits."""
        if self.device.type == "cpu":
            return 1
        pixels = tile.outer.height * tile.outer.width * self.model.scale**2
        return max(1, (_BUDGET - pixels * _CONTEXT_BYTES) // (pixels * _DECODE_BYTES))

    def _region(self, tile: Tile) -> Region:
        inner = tile.core.relative_to(tile.outer).scaled(self.model.scale)
        outer = tile.outer.scaled(self.model.scale)
        return Region(
            outer.height, outer.width, inner.top, inner.left, inner.top + inner.height, inner.left + inner.width
        )

    @contextmanager
    def _computing(self, tile: Tile) -> Iterator[None]:
        with torch.no_grad(), self._autocast(), counted(self._region(tile)):
            yield

    def _draw(self, x: Tensor, tile: Tile, settings: Settings, again: frozenset[int]) -> Iterator[Piece]:
        """Encode a tile once and yield its samples in chunks that fit memory; what is known already costs nothing."""
        outer, chunk = crop(x, tile.outer), self._chunk(tile)
        if self._all_known(x, tile):
            yield self._as_given(outer, tile, settings)
            return
        context = self._encode(x, tile)
        for first in range(0, settings.samples, chunk):
            some = settings.indices[first : first + chunk]
            y, log_prob = self._decode(tile, [k + _RETRY if k in again else k for k in some], settings, context)
            yield Piece(some, y, log_prob, outer)

    def _all_known(self, x: Tensor, tile: Tile) -> bool:
        known = self.task.known(x) if self._of_holes else None
        return known is not None and bool(crop(known, tile.core).all())

    def _as_given(self, x: Tensor, tile: Tile, settings: Settings) -> Piece:
        values = self.model.channels * tile.core.height * tile.core.width
        log_prob = torch.full((settings.samples,), values * math.log(_KNOWN_LEVELS), dtype=torch.float64)
        return Piece(settings.indices, x[:, : self.model.channels].expand(settings.samples, -1, -1, -1), log_prob, x)

    @property
    def _of_holes(self) -> bool:
        return isinstance(self.model, CNF) and self.model.config.hole

    def _decode(
        self, tile: Tile, drawn: list[int], settings: Settings, context: Context
    ) -> tuple[Tensor, Tensor | None]:
        size, corner = (tile.outer.height, tile.outer.width), (tile.outer.top, tile.outer.left)
        noise = self.model.noise(size, drawn, settings.temperature, settings.seed, corner)
        with self._computing(tile):
            draws = self.model.decode(tuple(e[None].to(self.device) for e in noise), context)
        return draws.y[0].float().cpu(), None if draws.log_prob is None else draws.log_prob[0].double().cpu()

    def restore(self, picture: Picture, settings: Settings, mask: Tensor | None = None) -> Restoration:
        """Return the samples of one picture; raise CflowError when one is not finite even after a second draw.

        ``mask`` (1, 1, H, W) is what the task's condition takes: the hole, the field of view.
        """
        given = self._given(picture, mask)
        canvas = self._paint(given, settings, frozenset())
        if bad := canvas.not_finite:
            canvas = self._paint(given, settings, frozenset(bad))
            canvas.notes.append(f"samples {sorted(bad)} were not finite and were drawn a second time")
            if canvas.not_finite:
                what = "the model gave values that are not finite, twice"
                raise CflowError(what, "lower --temp, or use --precision fp32")
        return canvas.result()

    def _given(self, picture: Picture, mask: Tensor | None) -> Given:
        image = to_tensor(picture)
        x = self.task.condition(image, mask)
        dims = self.model.dims(*self._padded(x).shape[-2:])
        return Given(picture, image, x, dims, self._levels(picture))

    def _levels(self, picture: Picture) -> int:
        """Return how many levels y has, over which its density is spread; 1 where log_prob is a mass already."""
        if isinstance(self.model, Binary):
            return 1
        if self._of_holes:
            return _KNOWN_LEVELS
        own = self.task.resized or self.task.levels == 2 or self.task.y_channels != 3
        return self.task.levels if own else picture.levels

    def _paint(self, given: Given, settings: Settings, again: frozenset[int]) -> Canvas:
        padded = self._padded(given.x)
        tiles = self.tiles(*padded.shape[-2:])
        if isinstance(self.model, Density) and self.model.variational:
            given = replace(given, dims=0)
        canvas = Canvas(given, self.task, self.model.scale, settings, tiled=len(tiles) > 1)
        for tile in tiles:
            canvas.begin()
            for piece in self._draw(padded, tile, settings, again):
                canvas.add(piece, tile)
            canvas.end(tile)
        return canvas

    def score(
        self, picture: Picture, candidates: Sequence[Picture], draws: int = 0, seed: int = 0, mask: Tensor | None = None
    ) -> list[Score]:
        """Return log p(candidate | picture) of each, at the midpoints of its levels, or as the mean of ``draws``.

        Where the model has learned to dequantize, bits per dimension are those of its bound, with noise of the seed;
        of masks, that bound is all there is. Raises NoLikelihood for a model without one, InputError for a candidate
        of the wrong size.
        """
        if not isinstance(self.model, Density):
            raise NoLikelihood(f"model {self.card.recipe.model.name} has no likelihood", "choose another --model")
        given = self._given(picture, mask)
        padded = self._padded(given.x)
        for candidate in candidates:
            self.check_candidate(picture, candidate)
        targets = [self._target(given, candidate) for candidate in candidates]
        versions = [self._versions(y, candidate, draws, seed) for y, candidate in zip(targets, candidates, strict=True)]
        totals = [torch.zeros(len(each), dtype=torch.float64) for each in versions]
        bounds = [torch.zeros(1, dtype=torch.float64) for _ in versions]
        for tile in self.tiles(*padded.shape[-2:]):
            context = self._encode(padded, tile)
            for total, bound, each, y in zip(totals, bounds, versions, targets, strict=True):
                total += torch.stack([self._log_prob(v, tile, context, seed + k) for k, v in enumerate(each)])
                if self.model.variational:
                    bound += self._log_mass(y, tile, context, seed)
        found = zip(totals, bounds, candidates, strict=True)
        known = self.model.variational
        return [_score(total, self._levels(c), given.dims, bound if known else None) for total, bound, c in found]

    def check_candidate(self, picture: Picture, candidate: Picture) -> None:
        """Raise InputError unless the candidate has the size that the task makes of the picture."""
        height, width = (side * self.model.scale for side in picture.size)
        if candidate.size != (height, width):
            size = f"{candidate.size[1]} x {candidate.size[0]} pixels, not {width} x {height}"
            what = f"{escape(candidate.source)} is {size}"
            raise InputError(what, "give candidates of the size that the task makes of the input")

    def _target(self, given: Given, candidate: Picture) -> Tensor:
        return self._padded(self.task.target(given.image, given.x, to_tensor(candidate)), self.model.scale)

    def _versions(self, y: Tensor, candidate: Picture, draws: int, seed: int) -> list[Tensor]:
        levels, generator = self._levels(candidate), torch.Generator().manual_seed(seed % 2**32)
        if levels == 1:
            return [y] * max(1, draws)
        return [uniform_dequantize(y, levels, generator) for _ in range(draws)] or [y]

    def _encode(self, x: Tensor, tile: Tile) -> Context:
        with self._computing(tile):
            return self.model.encode(crop(x, tile.outer).to(self.device, memory_format=torch.channels_last))

    def _part(self, y: Tensor, tile: Tile) -> Tensor:
        return crop(y, tile.outer.scaled(self.model.scale)).to(self.device, memory_format=torch.channels_last)

    def _log_prob(self, y: Tensor, tile: Tile, context: Context, seed: int) -> Tensor:
        assert isinstance(self.model, Density)
        if isinstance(self.model, Binary):
            return self._log_mass(y, tile, context, seed)[0]
        with self._computing(tile):
            return self.model.log_prob_given(self._part(y, tile), context)[0].double().cpu()

    def _log_mass(self, y: Tensor, tile: Tile, context: Context, seed: int) -> Tensor:
        assert isinstance(self.model, Density)
        generator = torch.Generator().manual_seed(seed % 2**32)
        with self._computing(tile):
            return self.model.log_mass_given(self._part(y, tile), context, generator).double().cpu()


def _score(totals: Tensor, levels: int, dims: int, bound: Tensor | None) -> Score:
    draws, mean = len(totals), totals.mean(0)
    error = float(totals.std() / math.sqrt(draws)) if draws > 1 else 0.0
    bits = bits_per_dim(mean[None], dims, levels) if bound is None else bits_per_dim(bound, dims, 1)
    return Score(float(mean), float(bits), error)
