"""Cutting an image into overlapping tiles and putting it together again: integers and tensors, no model."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True)
class Box:
    """A rectangle of whole pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """The rows and the columns, to index the last two axes with."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    def scaled(self, k: int) -> Box:
        """The same rectangle on a grid `k` times finer."""
        return Box(self.top * k, self.left * k, self.height * k, self.width * k)

    def relative_to(self, other: Box) -> Box:
        """The same rectangle counted from the upper left corner of `other`."""
        return Box(self.top - other.top, self.left - other.left, self.height, self.width)


@dataclass(frozen=True)
class Tile:
    """What a model sees (`outer`), the part of it that is kept (`core`), and how far beyond it is blended in."""

    outer: Box
    core: Box
    blend: int = 0

    def scaled(self, k: int) -> Tile:
        """The same tile on a grid `k` times finer."""
        return Tile(self.outer.scaled(k), self.core.scaled(k), self.blend * k)

    @property
    def shown(self) -> Box:
        """The core grown by `blend`, inside the outer box."""
        rows, columns = (_grown(self.blend, *ends) for ends in zip(_ends(self.core), _ends(self.outer), strict=True))
        return _box(rows, columns)

    def weights(self) -> Tensor | None:
        """How much of `shown`, (height, width), goes over what the tiles above and to the left have painted there.

        It rises from 0 to 1 over twice the width that the core has grown by at the top and at the left, and is 1 below
        and to the right, where the tiles to come are blended in; None where it is 1 everywhere.
        """
        shown, core = self.shown, self.core
        if (shown.top, shown.left) == (core.top, core.left):
            return None
        rows = _rise(shown.height, core.top - shown.top)
        return rows[:, None] * _rise(shown.width, core.left - shown.left)


def plan(height: int, width: int, tile: int, margin: int, multiple: int, blend: int = 0) -> list[Tile]:
    """Tiles whose cores partition the image and whose outers are the cores grown by `margin`, clipped to the image.

    All edges are multiples of `multiple` (a margin that is not one is rounded up), no outer side is longer than
    `tile`, and the outers are of nearly one size. Raises ValueError when height or width is not a positive multiple,
    or when `tile` has no room for two margins and one multiple.
    """
    if min(height, width, multiple) < 1 or height % multiple or width % multiple:
        raise ValueError(f"{height} x {width} are not positive multiples of {multiple}")
    if margin < 0:
        raise ValueError(f"a margin of {margin} is negative")
    room, border = tile // multiple, -(-margin // multiple)
    rows, columns = (_spans(side // multiple, room, border, multiple) for side in (height, width))
    return [Tile(_box(r[0], c[0]), _box(r[1], c[1]), blend) for r in rows for c in columns]


def plan_fixed(
    height: int, width: int, size: tuple[int, int], margin: int, multiple: int, blend: int = 0
) -> list[Tile]:
    """Tiles whose outers are all of one size and whose cores partition the image, cut in the middle of each overlap.

    All edges are multiples of `multiple`, and a core stays `margin` or more away from an edge of its outer that is not
    an edge of the image. Raises ValueError when the image is smaller than a tile, a side is no positive multiple, or a
    tile has no room for two margins and one multiple.
    """
    if margin < 0:
        raise ValueError(f"a margin of {margin} is negative")
    if min(height, width, *size, multiple) < 1 or any(side % multiple for side in (height, width, *size)):
        raise ValueError(
            f"{height} x {width} or tiles of {size[0]} x {size[1]} are not positive multiples of {multiple}"
        )
    border = -(-margin // multiple)
    sides = zip((height, width), size, strict=True)
    rows, columns = (_fixed_spans(side // multiple, room // multiple, border, multiple) for side, room in sides)
    return [Tile(_box(r[0], c[0]), _box(r[1], c[1]), blend) for r in rows for c in columns]


def crop(t: Tensor, box: Box) -> Tensor:
    """The part of `t` (..., H, W) inside `box`, as a view."""
    rows, columns = box.slices
    return t[..., rows, columns]


def paste(target: Tensor, piece: Tensor, tile: Tile) -> None:
    """Writes the core of `piece` (..., outer height, outer width) into `target` (..., H, W), in place.

    Raises ValueError when `piece` does not cover the tile's outer box.
    """
    if tuple(piece.shape[-2:]) != (tile.outer.height, tile.outer.width):
        raise ValueError(f"a piece of {tuple(piece.shape[-2:])} does not cover {tile.outer}")
    crop(target, tile.core).copy_(crop(piece, tile.core.relative_to(tile.outer)))


def pad_to_multiple(t: Tensor, multiple: int) -> Tensor:
    """`t` (..., H, W) with its last row and column repeated until both sides are multiples of `multiple`."""
    for axis in (-2, -1):
        side = t.shape[axis]
        index = torch.arange(side + -side % multiple, device=t.device).clamp(max=side - 1)
        t = t if len(index) == side else t.index_select(axis, index)
    return t


def mirror_to(t: Tensor, size: tuple[int, int]) -> Tensor:
    """`t` (..., H, W) continued below and to the right by its mirror image until it is `size` high and wide or more."""
    for axis, wanted in zip((-2, -1), size, strict=True):
        side = t.shape[axis]
        index = torch.arange(wanted, device=t.device) % (2 * side)
        t = t if side >= wanted else t.index_select(axis, torch.minimum(index, 2 * side - 1 - index))
    return t


Span = tuple[int, int]


def _ends(box: Box) -> tuple[Span, Span]:
    return (box.top, box.top + box.height), (box.left, box.left + box.width)


def _grown(by: int, inner: Span, outer: Span) -> Span:
    return max(inner[0] - by, outer[0]), min(inner[1] + by, outer[1])


def _rise(length: int, half: int) -> Tensor:
    if not half:
        return torch.ones(length)
    return ((torch.arange(length) + 0.5) / (2 * half)).clamp_max(1.0)


def _box(rows: Span, columns: Span) -> Box:
    return Box(rows[0], columns[0], rows[1] - rows[0], columns[1] - columns[0])


def _spans(side: int, room: int, border: int, multiple: int) -> list[tuple[Span, Span]]:
    """(outer, core) along one axis; all counts but the results are in multiples."""
    if side <= room:
        return [((0, side * multiple), (0, side * multiple))]
    if room < 2 * border + 1:
        raise ValueError(f"a tile needs at least {(2 * border + 1) * multiple} pixels a side, not {room * multiple}")
    count = -(-(side - 2 * border) // (room - 2 * border))
    total = side + 2 * border * (count - 1)
    inner = [total * j // count - (2 * j - 1) * border for j in range(1, count)]
    cuts = [0, *inner, side]
    return [
        ((max(a - border, 0) * multiple, min(b + border, side) * multiple), (a * multiple, b * multiple))
        for a, b in pairwise(cuts)
    ]


def _fixed_spans(side: int, room: int, border: int, multiple: int) -> list[tuple[Span, Span]]:
    """(outer, core) along one axis for outers of one length; all counts but the results are in multiples."""
    if side < room or (side > room and room < 2 * border + 1):
        raise ValueError(
            f"tiles of {room * multiple} pixels a side do not fit {side * multiple}, or their margins them"
        )
    count = 1 if side == room else -(-(side - 2 * border) // (room - 2 * border))
    starts = [(side - room) * j // max(1, count - 1) for j in range(count)]
    cuts = [0, *((a + room + b) // 2 for a, b in pairwise(starts)), side]
    return [
        ((start * multiple, (start + room) * multiple), (a * multiple, b * multiple))
        for start, (a, b) in zip(starts, pairwise(cuts), strict=True)
    ]
