"""A smooth first guess of what is inside a hole."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_KERNEL = (1 / 8, 3 / 8, 3 / 8, 1 / 8)
_GROWTH = 4.0
_TINY = 1e-30


def smooth_fill(image: Tensor, hole: Tensor) -> Tensor:
    """Return the image (B, C, H, W) with a guess inside the hole (B, 1, H, W), boolean; 1/2 where nothing is known.

    Pull and push (Gortler et al., 1996): colours are averaged down a pyramid by their weights w, 1 where known at
    first and then min(1, 4 h * w), h the binomial of 4 x 4 pixels, until nothing is unknown. On the way up each level
    becomes w c + (1 - w) (the coarser one, interpolated bilinearly). Known pixels stay as they are, and the values of
    the unknown ones do not matter.
    """
    colours, weights = image.masked_fill(hole, 0.0), (~hole).to(image)
    levels = []
    while (weights < 1).any() and max(weights.shape[-2:]) > 1:
        levels.append((colours, weights))
        share = _halved(weights)
        colours = _halved(colours * weights) / share.clamp_min(_TINY)
        weights = (_GROWTH * share).clamp_max(1.0)
    guess = torch.where(weights > 0, colours, 0.5)
    for colours, weights in reversed(levels):
        height, width = weights.shape[-2:]
        above = F.interpolate(guess, scale_factor=2.0, mode="bilinear")[..., :height, :width]
        guess = above + weights * (colours - above)
    return torch.where(hole, guess, image)


def _halved(values: Tensor) -> Tensor:
    """Return (B, C, ceil(H / 2), ceil(W / 2)), smoothed with the binomial kernel; beyond the edges are zeros."""
    side = torch.tensor(_KERNEL, dtype=values.dtype, device=values.device)
    kernel = torch.outer(side, side).expand(values.shape[1], 1, -1, -1)
    padded = F.pad(values, (1, 1 + values.shape[-1] % 2, 1, 1 + values.shape[-2] % 2))
    return F.conv2d(padded, kernel, stride=2, groups=values.shape[1])
