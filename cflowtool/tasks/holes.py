"""Masks of what is to be filled in: blocks, strokes, or scratches, blobs and writing."""

from __future__ import annotations

import string
from collections.abc import Callable
from random import Random

import cv2
import numpy as np

from .eight_bit import Pixels

Draw = Callable[[Pixels, Random], object]
_MOST = 0.25
_LEAST = 0.02
_TRIES = 60
_LARGE_SHARE = 1 / 3
_SMALLEST_LARGE = 0.05
_WIDEST_SCRATCH = 4
_MOST_SCRATCHED = 0.1


def centre(height: int, width: int, random: Random) -> Pixels:
    """Return the central block of half the height and width, a quarter of the area (c-Glow section 5.6)."""
    mask = np.zeros((height, width), np.uint8)
    top, left = height // 4, width // 4
    mask[top : top + max(1, height // 2), left : left + max(1, width // 2)] = 1
    return mask


def strokes(height: int, width: int, random: Random) -> Pixels:
    """Return thick crooked strokes over a share of the area drawn from [2 %, 25 %]."""
    return _filled(height, width, random, [_stroke])


def mixed(height: int, width: int, random: Random) -> Pixels:
    """Return strokes, thin scratches, blobs and writing over a share of the area drawn from [2 %, 25 %]."""
    return _filled(height, width, random, [_stroke, _scratch, _blob, _writing])


def any_kind(height: int, width: int, random: Random) -> Pixels:
    """Return one large hole in a third of all images, the centre or one from [5 %, 25 %] of the area anywhere; in the
    others small ones over [2 %, 25 %], half of them nothing but scratches of 1 to 4 pixels and writing."""
    if random.random() < _LARGE_SHARE:
        return random.choice([centre, _large])(height, width, random)
    thin: list[Draw] = [_line, _writing]
    return _filled(height, width, random, random.choice([thin, [_stroke, _scratch, _blob, *thin]]))


def _large(height: int, width: int, random: Random) -> Pixels:
    """Return a rectangle or the ellipse in it, up to twice as high as wide or the reverse."""
    area = max(1, int(height * width * random.uniform(_SMALLEST_LARGE, _MOST)))
    high = min(height, area, max(1, round((area * random.uniform(0.5, 2.0)) ** 0.5)))
    wide = min(width, area // high)
    top, left = random.randint(0, height - high), random.randint(0, width - wide)
    mask, shape = np.zeros((height, width), np.uint8), np.ones((high, wide), np.uint8)
    if random.random() < 1 / 2:
        rows, columns = ((2 * np.arange(side) + 1) / side - 1 for side in (high, wide))
        shape = (rows[:, None] ** 2 + columns**2 <= 1).astype(np.uint8)
    mask[top : top + high, left : left + wide] = shape
    return mask


def scratches(height: int, width: int, random: Random) -> Pixels:
    """Return scratches of 1 to 4 pixels over 2 % to 10 % of the area."""
    return _filled(height, width, random, [_line], _MOST_SCRATCHED)


HOLES: dict[str, Callable[[int, int, Random], Pixels]] = {
    "centre": centre,
    "scratches": scratches,
    "strokes": strokes,
    "mixed": mixed,
    "any": any_kind,
}


def _filled(height: int, width: int, random: Random, kinds: list[Draw], most: float = _MOST) -> Pixels:
    """Draw shapes until the wanted share is hidden, leaving out those that would hide more than ``most``."""
    mask, wanted = np.zeros((height, width), np.uint8), random.uniform(_LEAST, most)
    for _ in range(_TRIES):
        tried = mask.copy()
        random.choice(kinds)(tried, random)
        mask = tried if tried.mean() <= most else mask
        if mask.mean() >= wanted:
            break
    if not mask.any():
        mask[random.randrange(height), random.randrange(width)] = 1
    return mask


def _point(mask: Pixels, random: Random) -> tuple[int, int]:
    return random.randrange(mask.shape[1]), random.randrange(mask.shape[0])


def _size(mask: Pixels, random: Random, low: float, high: float) -> int:
    share = random.uniform(low, high)
    return max(1, round(min(int(side) for side in mask.shape) * share))


def _stroke(mask: Pixels, random: Random) -> None:
    corners = np.array([_point(mask, random) for _ in range(random.randint(2, 4))], np.int32)
    cv2.polylines(mask, [corners], False, (1,), _size(mask, random, 0.02, 0.1))


def _scratch(mask: Pixels, random: Random) -> None:
    cv2.line(mask, _point(mask, random), _point(mask, random), (1,), _size(mask, random, 0.0, 0.02))


def _line(mask: Pixels, random: Random) -> None:
    corners = np.array([_point(mask, random) for _ in range(random.randint(2, 3))], np.int32)
    cv2.polylines(mask, [corners], False, (1,), random.randint(1, _WIDEST_SCRATCH))


def _blob(mask: Pixels, random: Random) -> None:
    axes = _size(mask, random, 0.02, 0.15), _size(mask, random, 0.02, 0.15)
    cv2.ellipse(mask, _point(mask, random), axes, random.uniform(0, 180), 0, 360, (1,), -1)


def _writing(mask: Pixels, random: Random) -> None:
    text = "".join(random.choices(string.ascii_letters + "  ", k=random.randint(3, 16)))
    scale, weight = min(mask.shape) * random.uniform(0.002, 0.006), _size(mask, random, 0.0, 0.02)
    cv2.putText(mask, text, _point(mask, random), cv2.FONT_HERSHEY_SIMPLEX, scale, (1,), weight)
