"""The step between stored levels and y in (0, 1), and the one resize that training and measuring share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from cflowtool.images.picture import Array, Picture

# A large picture is turned some rows at a time, so that it is in memory once.
_ROWS = 256

if TYPE_CHECKING:  # the process that decodes images does without torch
    from torch import Tensor


def to_tensor(picture: Picture) -> Tensor:
    """The dequantization midpoint y = (v + 0.5) / levels in (0, 1) as float32 (1, 3, H, W), grey in all three
    channels; exact for 8 and 16 bits."""
    import torch

    found = torch.empty(1, 3, *picture.size)
    for top in range(0, picture.size[0], _ROWS):
        values = torch.from_numpy(picture.pixels[top : top + _ROWS].astype(np.float32)).permute(2, 0, 1)
        found[0, :, top : top + _ROWS] = (values + 0.5) / picture.levels
    return found


def from_tensor(y: Tensor, like: Picture, grey: bool | None = None) -> Picture:
    """The picture v = clamp(floor(y * levels), 0, levels - 1) of y (C, H, W), C 1 or 3, in the bits of `like`.

    Grey when y has one channel, or when `grey` says so, or else when `like` is; the mean of three channels is taken
    on y. EXIF, XMP and PNG text come along, the ICC profile when the number of channels stays, alpha resized to (H, W).
    Raises ValueError for another shape or a value that is not finite.
    """
    import torch

    if y.ndim != 3 or y.shape[0] not in (1, 3):
        raise ValueError(f"y must be (1 or 3, H, W), not {tuple(y.shape)}")
    if not torch.isfinite(y).all():
        raise ValueError("y holds values that are not finite")
    if y.shape[0] == 1 or (like.grey if grey is None else grey):
        y = y.double().mean(0, keepdim=True)
    # Through float64: (y * levels) of a 16-bit value must not be rounded up to the next level.
    values = (y.detach().cpu().double() * like.levels).floor().clamp(0, like.levels - 1)
    return with_pixels(values.permute(1, 2, 0).numpy().astype(like.pixels.dtype), like)


def with_pixels(pixels: Array, like: Picture) -> Picture:
    """A picture of these pixels (H, W, 1 or 3) with all else of `like`: EXIF, XMP and PNG text, the ICC profile
    when the number of channels stays, alpha resized to (H, W)."""
    icc = like.icc if pixels.shape[2] == like.pixels.shape[2] else None
    alpha = _resized(like.alpha, pixels.shape[0], pixels.shape[1])
    return Picture(pixels, alpha, icc, like.exif, dict(like.text), like.source, list(like.notes), like.xmp)


def bicubic_resize(y: Tensor, size: tuple[int, int]) -> Tensor:
    """y (B, C, H, W) resized to `size` (height, width) by the antialiased bicubic kernel a = -0.5, not clamped."""
    from torch.nn import functional as F

    return F.interpolate(y, size=size, mode="bicubic", antialias=True, align_corners=False)


def quantise(y: Tensor, levels: int = 256) -> Tensor:
    """The midpoint of the level that y falls into, (clamp(floor(y * levels), 0, levels - 1) + 0.5) / levels."""
    return ((y * levels).floor().clamp(0, levels - 1) + 0.5) / levels


def _resized(alpha: Array | None, height: int, width: int) -> Array | None:
    if alpha is None or alpha.shape == (height, width):
        return alpha
    return np.asarray(cv2.resize(alpha, (width, height), interpolation=cv2.INTER_CUBIC))
