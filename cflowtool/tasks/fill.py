"""A smooth first guess of what is inside a hole."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

_KERNEL = (1 / 8, 3 / 8, 3 / 8, 1 / 8)
_GROWTH = 4.0
_TINY = 1e-30
_ROWS = 64


def smooth_fill(image: Tensor, hole: Tensor) -> Tensor:
    """Return the image (B, C, H, W) with a guess inside the hole (B, 1, H, W), boolean; 1/2 where nothing is known.

    Pull and push (Gortler et al., 1996): colours are averaged down a pyramid by their weights w, 1 where known at
    first and then min(1, 4 h * w), h the binomial of 4 x 4 pixels, until nothing is unknown. On the way up each level
    becomes w c + (1 - w) (the coarser one, interpolated bilinearly). Known pixels stay as they are, and the values of
    the unknown ones do not matter.
    """
    found = image.clone()
    fill_in(found, hole)
    return found


def fill_in(image: Tensor, hole: Tensor) -> None:
    """Do what ``smooth_fill`` does in place, in rows, so that a large image needs little memory beside its own."""
    levels = []
    colours, weights = image, ~hole
    while bool((weights < 1).any()) and max(weights.shape[-2:]) > 1:
        levels.append((colours, weights))
        colours, weights = _pulled(colours, weights)
    guess = torch.where(weights > 0, colours, 0.5)
    for colours, weights in reversed(levels[1:]):
        parts = [above + weights[..., r, :] * (colours[..., r, :] - above) for r, above in _pushed(guess, weights)]
        guess = torch.cat(parts, 2)
    for rows, above in _pushed(guess, hole) if levels else [(slice(None), guess)]:
        part = image[..., rows, :]
        part.copy_(torch.where(hole[..., rows, :], above, part))


def _pulled(colours: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean colours (B, C, ceil(H / 2), ceil(W / 2)) and weights; from beyond the edges comes nothing."""
    height = weights.shape[-2]
    found = []
    for first in range(0, -(-height // 2), _ROWS):
        last = min(first + _ROWS, -(-height // 2))
        top, bottom = max(0, 2 * first - 1), min(height, 2 * last + 1)
        missing = top - (2 * first - 1), 2 * last + 1 - bottom
        w = weights[..., top:bottom, :].to(colours.dtype)
        share = _halved(w, missing)
        mean = _halved(torch.where(w > 0, colours[..., top:bottom, :] * w, 0.0), missing) / share.clamp_min(_TINY)
        found.append((mean, (_GROWTH * share).clamp_max(1.0)))
    means, shares = zip(*found, strict=True)
    return torch.cat(means, 2), torch.cat(shares, 2)


def _halved(values: Tensor, missing: tuple[int, int]) -> Tensor:
    """Return every other value of rows smoothed with the binomial kernel, with zeros for those that are missing."""
    side = torch.tensor(_KERNEL, dtype=values.dtype, device=values.device)
    kernel = torch.outer(side, side).expand(values.shape[1], 1, -1, -1)
    return F.conv2d(F.pad(values, (1, 1 + values.shape[-1] % 2, *missing)), kernel, stride=2, groups=values.shape[1])


def _pushed(guess: Tensor, finer: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield some rows of the finer level (B, ., H, W) and the guess (B, C, h, w) there, interpolated bilinearly."""
    height, width = finer.shape[-2:]
    for first in range(0, guess.shape[-2], _ROWS):
        last, start = min(first + _ROWS, guess.shape[-2]), max(0, first - 1)
        wide = F.interpolate(guess[..., start : last + 1, :], scale_factor=2.0, mode="bilinear")
        rows = slice(2 * first, min(2 * last, height))
        yield rows, wide[..., 2 * (first - start) :, :width][..., : rows.stop - rows.start, :]
