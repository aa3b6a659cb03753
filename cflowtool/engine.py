"""A model at work on tiles of x: what it is given, how much at once, and on which device."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Literal

import torch
from torch import Tensor

from .device import choose_device, exact, fetch, one_convolution, to_device
from .errors import InputError, UsageError, escape
from .flows.pyramid import Context
from .flows.transform import Region, counted
from .graphs import CudaCapture, Graphs
from .memory import available
from .models import CNF, Density, Sampler
from .models.binary import Binary
from .tiles import Box, Tile, crop, mirror_to, pad_to_multiple, plan, plan_fixed

# Bytes that a context and one sample's decoding take for each pixel of the result (docs/decisions/tiles.md).
_CONTEXT_BYTES = 600
_DECODE_BYTES = 350
_PIXEL_BYTES = _CONTEXT_BYTES + _DECODE_BYTES
# What a tile may take: the same everywhere, so that a picture has the same tiles on every machine that has the memory.
_BUDGET = 2**30
_SHARE_OF_AVAILABLE = 0.7
_LEAST_BUDGET = 2**26
# Where memory runs out, tiles down to this side are tried, of a model that takes multiples of so many pixels.
_LEAST_SIDE, _LEAST_UNIT = 96, 16
# The margin as a share of the receptive field, beyond which nothing was ever seen to matter, and at least so much.
_MARGIN_SHARE, _MARGIN = 0.3, 24
# The side of what is checked of a run's first tile.
_CHECKED_SIDE = 64
# A model of one size keeps this share of its side, at both ends, as margin.
_FIXED_MARGIN = 8
# Pixels of y that a CPU decodes at once: more of them together gain nothing (docs/decisions/together.md).
_TOGETHER = 1 << 15
# Pixels of y up to which a GPU's kernels take less time than their launches, so that a graph pays; reckoned, not
# measured (docs/decisions/cuda.md).
_REPLAYED = 1 << 17

Drawn = tuple[Tensor, Tensor | None]


class Engine:
    """A model on a device, which encodes x, decodes noise and scores y, tile by tile."""

    def __init__(self, model: Sampler, device: str = "auto", precision: str = "auto", tile: str = "auto") -> None:
        self.device = choose_device(device)
        self.model = self._placed(model).prepare()
        self.graphs, self._parameters = Graphs(CudaCapture()), list(self.model.parameters())
        self.precision: Literal["fp32", "bf16"] = "bf16" if precision == "bf16" else "fp32"
        self.tile = tile

    def _placed(self, model: Sampler) -> Sampler:
        if self.device.type != "cuda":
            return model.to(self.device)
        # cuDNN brings a kernel in another order than the images into theirs, in every call.
        placed: Sampler = model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return placed

    @property
    def of_holes(self) -> bool:
        """Whether the model fills holes, all else being known to it."""
        return isinstance(self.model, CNF) and self.model.config.hole

    def budget(self, kept: int = 0) -> int:
        """Return how many bytes a tile may take when ``kept`` bytes of results are still to be kept beside it."""
        there = available(self.device)
        if there is None:
            return _BUDGET
        return min(_BUDGET, max(_LEAST_BUDGET, int(_SHARE_OF_AVAILABLE * (there - kept))))

    def smaller(self, budget: int | None) -> int | None:
        """Return a quarter of a budget, by default of the usual one: half the side; None where tiles get too small."""
        side = _LEAST_SIDE * max(1, self.model.size.multiple_of // _LEAST_UNIT)
        found = (self.budget() if budget is None else budget) // 4
        enough = found >= _PIXEL_BYTES * (side * self.model.scale) ** 2
        return found if enough and not self.model.size.fixed else None

    def tiles(self, height: int, width: int, budget: int | None = None) -> list[Tile]:
        """Return the tiles, on x's grid, that a padded x of this size is cut into; one when it fits.

        With a ``budget`` no tile takes more bytes, whatever the side that was asked for.
        """
        if self.model.size.fixed:
            return self._tiles_of(self.model.size.fixed, height, width)
        multiple, reach = self.model.size.multiple_of, self.model.reach
        side = self._side(height, width, budget)
        margin = min(reach, max(_MARGIN, int(_MARGIN_SHARE * reach)))
        if margin > side // 3:
            margin = max(1, side // multiple // 3) * multiple
        try:
            return plan(height, width, side, margin, multiple, 0 if margin >= reach else margin // 4)
        except ValueError as error:
            raise UsageError(f"--tile {escape(self.tile)}: {error}", "use a larger tile, or --tile auto") from error

    def _side(self, height: int, width: int, budget: int | None) -> int:
        side = max(height, width)
        if self.tile not in ("auto", "off"):
            side = min(side, int(self.tile))
        if budget is not None or self.tile == "auto":
            room = _BUDGET if budget is None else budget
            side = min(side, math.isqrt(room // _PIXEL_BYTES) // self.model.scale)
        return max(side, self.model.size.multiple_of)

    def _tiles_of(self, size: tuple[int, int], height: int, width: int) -> list[Tile]:
        if self.tile != "auto":
            what = f"--tile {escape(self.tile)}: this model works on {size[0]} x {size[1]} pixels alone"
            raise UsageError(what, "use --tile auto")
        multiple, side = self.model.size.multiple_of, min(size)
        room = (side // multiple - 1) // 2 * multiple
        margin = min(side // _FIXED_MARGIN, room)
        return plan_fixed(height, width, size, margin, multiple, margin // 2)

    def padded_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the size of ``padded`` of an x of height x width."""
        multiple, fixed = self.model.size.multiple_of, self.model.size.fixed or (1, 1)
        sides = max(height, fixed[0]), max(width, fixed[1])
        return sides[0] + -sides[0] % multiple, sides[1] + -sides[1] % multiple

    def fitted(self, image: Tensor, scale: int = 1) -> Tensor:
        """Return an image at ``scale`` times x's size, continued to the least size that the model takes.

        Raises InputError where there is nothing to cut: a model of a part of y knows one size and no other.
        """
        model = self.model
        if not model.size.fixed:
            return image
        height, width = (side * scale for side in model.size.fixed)
        values = model.channels * math.prod(model.size.fixed) * model.scale**2
        if tuple(image.shape[-2:]) != (height, width) and model.dims(*model.size.fixed) < values:
            what = f"this model restores the centre of pictures of {height} x {width} pixels alone"
            raise InputError(what, "resize the picture, or choose another --model")
        return mirror_to(image, (height, width))

    def part(self, image: Tensor, tile: Tile, scale: int = 1) -> Tensor:
        """Return what a tile sees of an image, at ``scale`` times x's size, its last row and column repeated."""
        found = crop(image, tile.outer.scaled(scale))
        return pad_to_multiple(found, self.model.size.multiple_of * scale)

    def together(self, height: int, width: int, budget: int | None = None) -> int:
        """Return how many samples, of one x or of several of height x width, are decoded at once, at least one."""
        pixels = height * width * self.model.scale**2
        if self.device.type == "cpu":
            return max(1, _TOGETHER // pixels)
        return max(1, (_BUDGET if budget is None else budget) // (pixels * _PIXEL_BYTES))

    def _region(self, tile: Tile) -> Region:
        inner = tile.core.relative_to(tile.outer).scaled(self.model.scale)
        outer = tile.outer.scaled(self.model.scale)
        return Region(
            outer.height, outer.width, inner.top, inner.left, inner.top + inner.height, inner.left + inner.width
        )

    @contextmanager
    def computing(self, tile: Tile) -> Iterator[None]:
        """Compute in this precision, without gradients, and count what lies in the tile's core."""
        bf16 = self.precision == "bf16"
        network = torch.autocast(self.device.type, torch.bfloat16) if bf16 else nullcontext()
        small = not bf16 and self.together(tile.outer.height, tile.outer.width) > 1
        same_bits = one_convolution(self.device) if small else nullcontext()
        with torch.no_grad(), network, exact(self.device), same_bits, counted(self._region(tile)):
            yield

    def _computed(
        self, what: str, work: Callable[..., tuple[Tensor, ...]], tile: Tile, images: int, inputs: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        """Return what work makes of its inputs; of few pixels of a shape that repeats, on a GPU, by a CUDA graph."""

        def computed(*given: Tensor) -> tuple[Tensor, ...]:
            with self.computing(tile):
                return work(*given)

        pixels = images * tile.outer.height * tile.outer.width * self.model.scale**2
        if self.device.type != "cuda" or pixels > _REPLAYED:
            return computed(*inputs)
        # Parameters may be changed, and the model be moved.
        state = hash(tuple((p.data_ptr(), p._version) for p in self._parameters))
        return self.graphs(computed, inputs, (what, self.precision, self._region(tile), state))

    def _moved(self, values: Tensor) -> Tensor:
        return to_device(values, self.device, torch.channels_last)

    def encode(self, x: Tensor, tile: Tile) -> Context:
        """Return the context of a tile of x, the ``part`` (B, C, h, w) that it sees."""
        return self._computed("encode", self.model.encode, tile, len(x), [self._moved(x)])

    def decode(self, tile: Tile, samples: Sequence[int], temperature: float, seed: int, context: Context) -> Drawn:
        """Return y (B, N, C, H, W) of the tile's outer box and log p (B, N) in float64 of its core."""
        return self.decoding(tile, samples, temperature, seed, context)()

    def decoding(
        self, tile: Tile, samples: Sequence[int], temperature: float, seed: int, context: Context
    ) -> Callable[[], Drawn]:
        """Begin with what ``decode`` returns, and return what waits for it: a GPU is then free for what comes next."""
        size, corner = (tile.outer.height, tile.outer.width), (tile.outer.top, tile.outer.left)
        noise = [self._moved(e) for e in self.model.noise(size, samples, temperature, seed, corner)]
        batch, levels = context[0].shape[0], len(noise)
        if batch > 1 or self.device.type == "cpu":
            # Each sample an image of its own: layouts, and with them the bits, stay those of a sample alone.
            noise = [self._moved(e.repeat(batch, 1, 1, 1))[:, None] for e in noise]
            # One sample's context is taken as it is: a copy of a large tile's costs as much memory again.
            if len(samples) > 1:
                context = tuple(entry.repeat_interleave(len(samples), 0) for entry in context)
            context = tuple(self._moved(entry) for entry in context)
        else:
            noise = [e[None] for e in noise]

        def drawn(*given: Tensor) -> tuple[Tensor, ...]:
            draws = self.model.decode(given[:levels], given[levels:])
            y = draws.y.flatten(0, 1).unflatten(0, (batch, len(samples))).float()
            return (y,) if draws.log_prob is None else (y, draws.log_prob.reshape(batch, -1))

        coming = fetch(self._computed("decode", drawn, tile, batch * len(samples), (*noise, *context)))
        return lambda: _as_drawn(*coming())

    def log_prob(self, y: Tensor, tile: Tile, context: Context, seed: int) -> Tensor:
        """Return log p(y|x) of the tile's core, of a mask the bound of ``log_mass``."""
        return self.scoring(y, tile, context, seed)()

    def scoring(self, y: Tensor, tile: Tile, context: Context, seed: int) -> Callable[[], Tensor]:
        """Begin with what ``log_prob`` returns, and return what waits for it."""
        model = self.model
        assert isinstance(model, Density)
        if isinstance(model, Binary):
            mass = self.log_mass(y, tile, context, seed)[0]
            return lambda: mass

        def scored(y: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
            return (model.log_prob_given(y, given),)

        inputs = (self._moved(self.part(y, tile, model.scale)), *context)
        coming = fetch(self._computed("log_prob", scored, tile, len(y), inputs))
        return lambda: coming()[0][0].double()

    def log_mass(self, y: Tensor, tile: Tile, context: Context, seed: int) -> Tensor:
        """Return log P(y|x) of the tile's core, (1,), a discrete y's, with the dequantizing noise of a seed."""
        assert isinstance(self.model, Density)
        generator = torch.Generator().manual_seed(seed % 2**32)
        with self.computing(tile):
            return (
                self.model.log_mass_given(self._moved(self.part(y, tile, self.model.scale)), context, generator)
                .double()
                .cpu()
            )

    def inversion_error(
        self,
        y: Tensor,
        log_prob: Tensor,
        tile: Tile,
        sample: Sequence[int],
        temperature: float,
        seed: int,
        context: Context,
    ) -> float:
        """Return how far log p (), gathered while y (1, C, H, W) was made, is from log p(y|x), in nats a value.

        That is the error of the inversion. Of a large tile a part is made and judged; 0 for masks and models without a
        likelihood.
        """
        if not isinstance(self.model, Density) or isinstance(self.model, Binary):
            return 0.0
        if part := self._part_of(tile, context):
            tile, context = part
            drawn, gathered = self.decode(tile, sample, temperature, seed, context)
            assert gathered is not None
            y, log_prob = drawn[0], gathered[0, 0]
        with self.computing(tile):
            again = self.model.log_prob_given(self._moved(y), context)[0].double().cpu()
        return float((log_prob - again).abs()) / self.model.dims(tile.outer.height, tile.outer.width)

    def _part_of(self, tile: Tile, context: Context) -> tuple[Tile, Context] | None:
        """Return a small part of a tile, in a hole if that is what the model fills, and its context; None if it is
        small itself or its context is not an image."""
        height, width = tile.outer.height, tile.outer.width
        multiple = self.model.size.multiple_of
        side = max(1, _CHECKED_SIDE // multiple) * multiple
        even = all((multiple * c.shape[-2]) % height == 0 == (multiple * c.shape[-1]) % width for c in context)
        if min(height, width) <= 2 * side or self.model.size.fixed or not even:
            return None
        unknown = context[-1][0, 0].nonzero() if self.of_holes else context[-1].new_zeros(0, 2)
        start = (unknown[0] * (height // context[-1].shape[-2])).tolist() if len(unknown) else (0, 0)
        ends = zip(start, (height, width), strict=True)
        top, left = (min(int(at), length - side) // multiple * multiple for at, length in ends)
        region = Region(height, width, top, left, top + side, left + side)
        box = Box(tile.outer.top + top, tile.outer.left + left, side, side)
        return Tile(box, box), tuple(region.crop(c) for c in context)


def _as_drawn(y: Tensor, log_prob: Tensor | None = None) -> Drawn:
    return y, None if log_prob is None else log_prob.double()
