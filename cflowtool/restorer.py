"""One image to ranked candidates, whole or in tiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from operator import itemgetter

import torch
from torch import Tensor

from .canvas import Canvas, Given, Piece, Restoration, Settings
from .engine import Drawn, Engine
from .errors import CflowError, InputError, NoLikelihood, escape
from .flows.dequantize import uniform_dequantize
from .flows.pyramid import Context
from .images import Picture, to_tensor
from .memory import give_back, ran_out
from .metrics.likelihood import bits_per_dim
from .models import Density
from .models.binary import Binary
from .prefetch import one_ahead
from .recipes import make_task
from .tiles import Tile, crop
from .weights import Loaded

_RETRY = 1 << 40
# The errors of the inversion, in nats a value, that are told and refused: fp32 has less than 1e-6 and bf16 less than
# 1e-4 with all shipped weights.
_POOR_INVERSION, _WRONG_INVERSION = 1e-3, 0.1
# A model of holes counts log 256 for each value that is known, whatever the picture's depth.
_KNOWN_LEVELS = 256

Begun = tuple[Tile, Callable[[], list[Piece]]]


@dataclass(frozen=True)
class Score:
    """log p(y|x) of a candidate in nats, the same in bits per dimension, and the standard error of the former."""

    log_prob: float
    bits_per_dim: float
    standard_error: float = 0.0


class Restorer(Engine):
    """A loaded weight at work on one device: restores pictures and scores candidates."""

    def __init__(self, loaded: Loaded, device: str = "auto", precision: str = "auto", tile: str = "auto") -> None:
        super().__init__(loaded.model, device, precision, tile)
        self.card, self.sha256, self.path = loaded.card, loaded.sha256, loaded.path
        self.task = make_task(loaded.card.recipe)
        self.inversion: float | None = None

    def restore(self, picture: Picture, settings: Settings, mask: Tensor | None = None) -> Restoration:
        """Return the samples of one picture, in tiles that fit the memory there is.

        ``mask`` (1, 1, H, W) is what the task's condition takes: the hole, the field of view. Where memory runs out,
        tiles of a quarter are tried until they are too small: then, and where even the picture does not fit, InputError
        is raised; CflowError when a sample is not finite even after a second draw.
        """
        budget: int | None = None
        while True:
            try:
                return self._restored(self._given(picture, mask), settings, budget)
            except Exception as error:
                if not ran_out(error):
                    raise
                budget = self._smaller(picture, budget)
            self.graphs.clear()
            give_back()

    def _smaller(self, picture: Picture, budget: int | None) -> int:
        found = self.smaller(budget)
        if found is None:
            what = f"{escape(picture.source)}: memory ran out with {picture.size[1]} x {picture.size[0]} pixels"
            raise InputError(what, "close other programs, draw fewer --samples, or make it smaller", "memory")
        return found

    def _restored(self, given: Given, settings: Settings, budget: int | None) -> Restoration:
        canvas = self._paint(given, settings, frozenset(), budget)
        if bad := canvas.not_finite:
            canvas = self._paint(given, settings, frozenset(bad), budget)
            canvas.notes.append(f"samples {sorted(bad)} were not finite and were drawn a second time")
            if canvas.not_finite:
                what = "the model gave values that are not finite, twice"
                raise CflowError(what, "lower --temp, or use --precision fp32")
        return canvas.result()

    def group(self, picture: Picture, mask: Tensor | None = None) -> Hashable | None:
        """Return what pictures that ``restore_many`` makes in one go have in common; None for one on its own.

        These are those small enough for a gain that have the same size once x is padded. Errors as of the task's
        ``condition`` for a task that works at a size of its own.
        """
        if self.together(*picture.size) < 2:
            return None
        size = self.task.condition(to_tensor(picture), mask).shape[-2:] if self.task.resized else picture.size
        size = self.padded_size(size[0], size[1])
        return size if self.together(*size) > 1 and len(self.tiles(*size)) == 1 else None

    def restore_many(
        self, pictures: Sequence[Picture], settings: Settings, masks: Sequence[Tensor | None]
    ) -> list[Restoration]:
        """Return what ``restore`` returns of each picture, those of one ``group`` encoded and decoded together.

        Results are the same to the bit on a CPU. Errors are those of ``restore`` of any of the pictures.
        """
        pairs = list(zip(pictures, masks, strict=True))
        keys = {self.group(*pair) for pair in pairs}
        key = keys.pop() if len(keys) == 1 else None
        if not isinstance(key, tuple):
            return [self.restore(picture, settings, mask) for picture, mask in pairs]
        some = self.together(*key)
        parts = [pairs[first : first + some] for first in range(0, len(pairs), some)]
        return [found for part in parts for found in self._in_one_go(part, settings)]

    def _in_one_go(self, pairs: Sequence[tuple[Picture, Tensor | None]], settings: Settings) -> list[Restoration]:
        givens = [self._given(*pair) for pair in pairs]
        [tile] = self.tiles(*self.padded_size(*givens[0].x.shape[-2:]))
        x = torch.cat([self.part(self.fitted(given.x), tile) for given in givens])
        canvases = [self._canvas(given, settings, False) for given in givens]
        for canvas in canvases:
            canvas.begin()
        for _, pieces in self._draw(((tile, x),), settings, frozenset(), None):
            for canvas, piece in zip(canvases, pieces, strict=True):
                canvas.add(piece, tile)
        for canvas in canvases:
            canvas.end(tile)
        made = zip(canvases, pairs, strict=True)
        return [self.restore(p, settings, mask) if c.not_finite else c.result() for c, (p, mask) in made]

    def _paint(self, given: Given, settings: Settings, again: frozenset[int], budget: int | None) -> Canvas:
        x = self.fitted(given.x)
        size = self.padded_size(*x.shape[-2:])
        tiles = self._affordable(size, given, settings, budget)
        canvas = self._canvas(given, settings, len(tiles) > 1)
        if len(tiles) > len(self.tiles(*size)):
            canvas.notes.append(
                f"for want of memory, in tiles of {tiles[0].outer.width} x {tiles[0].outer.height} pixels"
            )
        drawn = self._draw(((tile, self.part(x, tile)) for tile in tiles), settings, again, budget)
        for tile, samples in groupby(drawn, itemgetter(0)):
            canvas.begin()
            for _, [piece] in samples:
                canvas.add(piece, tile)
            canvas.end(tile)
        if self.inversion is not None and self.inversion > _POOR_INVERSION:
            canvas.notes.append(
                f"the model inverts itself to {self.inversion:.1e} nats a value only: log_prob is inexact"
            )
        return canvas

    def _affordable(self, size: tuple[int, int], given: Given, settings: Settings, budget: int | None) -> list[Tile]:
        if budget is None and self.tile == "auto":
            kept = settings.samples * given.picture.pixels.nbytes * (1 if self.task.resized else self.model.scale**2)
            budget = self.budget(kept)
        return self.tiles(*size, budget)

    def _canvas(self, given: Given, settings: Settings, tiled: bool) -> Canvas:
        if isinstance(self.model, Density) and self.model.variational:
            given = replace(given, dims=0)
        return Canvas(given, self.task, self.model.scale, settings, tiled)

    def _draw(
        self, parts: Iterable[tuple[Tile, Tensor]], settings: Settings, again: frozenset[int], budget: int | None
    ) -> Iterator[tuple[Tile, list[Piece]]]:
        """Yield each tile's samples, as many as fit at a time, a piece for each image of the ``part`` that it sees.

        A GPU works on the next of them meanwhile.
        """
        begun = ((tile, one) for tile, x in parts for one in self._begin(x, tile, settings, again, budget))
        for tile, pieces in _in_flight(begun, self.device):
            yield tile, pieces()

    def _begin(
        self, x: Tensor, tile: Tile, settings: Settings, again: frozenset[int], budget: int | None
    ) -> Iterator[Callable[[], list[Piece]]]:
        """Encode what a tile sees and begin with some of its samples after the other; yield what waits for them."""
        if self._all_known(x, tile):
            yield lambda: [self._as_given(x, tile, settings)]
            return
        context = self.encode(x, tile)
        chunk = max(1, self.together(tile.outer.height, tile.outer.width, budget) // len(x))
        for first in range(0, settings.samples, chunk):
            some = settings.indices[first : first + chunk]
            drawn = [k + _RETRY if k in again else k for k in some]
            coming = self.decoding(tile, drawn, settings.temperature, settings.seed, context)
            if self.inversion is None and isinstance(self.model, Density):
                self._check_inversion(*coming(), tile, settings, context)
            yield partial(_pieces, coming, some, x)

    def _check_inversion(self, y: Tensor, scores: Tensor | None, tile: Tile, settings: Settings, of: Context) -> None:
        """Measure the error of the inversion with a run's first sample; raise CflowError where it is nonsense."""
        if self.inversion is not None or scores is None or not bool(y[0, 0].isfinite().all()):
            return
        first = settings.indices[:1]
        self.inversion = self.inversion_error(
            y[:1, 0], scores[0, 0], tile, first, settings.temperature, settings.seed, tuple(c[:1] for c in of)
        )
        if not self.inversion <= _WRONG_INVERSION:
            what = f"the model does not invert itself: {self.inversion:.2g} nats a value are lost on the way and back"
            raise CflowError(what, "use --precision fp32; if it stays, the weight is damaged: train or pull it anew")

    def _all_known(self, x: Tensor, tile: Tile) -> bool:
        known = self.task.known(x) if self.of_holes and len(x) == 1 else None
        return known is not None and bool(crop(known, tile.shown.relative_to(tile.outer)).all())

    def _as_given(self, x: Tensor, tile: Tile, settings: Settings) -> Piece:
        values = self.model.channels * tile.core.height * tile.core.width
        log_prob = torch.full((settings.samples,), values * math.log(_KNOWN_LEVELS), dtype=torch.float64)
        return Piece(settings.indices, x[:, : self.model.channels].expand(settings.samples, -1, -1, -1), log_prob, x)

    def _given(self, picture: Picture, mask: Tensor | None) -> Given:
        image = to_tensor(picture)
        x = self.task.condition(image, mask)
        dims = self.model.dims(*self.padded_size(*x.shape[-2:]))
        # The image itself is of use to tasks that work at another size alone: a large one is not kept for nothing.
        return Given(picture, image if self.task.resized else x, x, dims, self._levels(picture))

    def _levels(self, picture: Picture) -> int:
        """Return how many levels y has, over which its density is spread; 1 where log_prob is a mass already."""
        if isinstance(self.model, Binary):
            return 1
        if self.of_holes:
            return _KNOWN_LEVELS
        own = self.task.resized or self.task.levels == 2 or self.task.y_channels != 3
        return self.task.levels if own else picture.levels

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
        x = self.fitted(given.x)
        for candidate in candidates:
            self.check_candidate(picture, candidate)
        targets = [self._target(given, candidate) for candidate in candidates]
        versions = [self._versions(y, candidate, draws, seed) for y, candidate in zip(targets, candidates, strict=True)]
        totals = [torch.zeros(len(each), dtype=torch.float64) for each in versions]
        bounds = [torch.zeros(1, dtype=torch.float64) for _ in versions]
        for tile in self.tiles(*self.padded_size(*x.shape[-2:])):
            context = self.encode(self.part(x, tile), tile)
            for total, bound, each, y in zip(totals, bounds, versions, targets, strict=True):
                coming = [self.scoring(v, tile, context, seed + k) for k, v in enumerate(each)]
                total += torch.stack([wait() for wait in coming])
                if self.model.variational:
                    bound += self.log_mass(y, tile, context, seed)
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
        return self.fitted(self.task.target(given.image, given.x, to_tensor(candidate)), self.model.scale)

    def _versions(self, y: Tensor, candidate: Picture, draws: int, seed: int) -> list[Tensor]:
        levels, generator = self._levels(candidate), torch.Generator().manual_seed(seed % 2**32)
        if levels == 1:
            return [y] * max(1, draws)
        return [uniform_dequantize(y, levels, generator) for _ in range(draws)] or [y]


def _in_flight(begun: Iterator[Begun], device: torch.device) -> Iterator[Begun]:
    return begun if device.type == "cpu" else one_ahead(begun)


def _pieces(coming: Callable[[], Drawn], indices: Sequence[int], x: Tensor) -> list[Piece]:
    y, log_prob = coming()
    scores = [None] * len(x) if log_prob is None else list(log_prob)
    return [Piece(indices, y[i], scores[i], x[i : i + 1]) for i in range(len(x))]


def _score(totals: Tensor, levels: int, dims: int, bound: Tensor | None) -> Score:
    draws, mean = len(totals), totals.mean(0)
    error = float(totals.std() / math.sqrt(draws)) if draws > 1 else 0.0
    bits = bits_per_dim(mean[None], dims, levels) if bound is None else bits_per_dim(bound, dims, 1)
    return Score(float(mean), float(bits), error)
