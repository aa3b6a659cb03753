"""Photographs of the retina: their field of view, their scale, and their background evened out."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .eight_bit import Pixels, as_pixels

# Fields of view from DRIVE's 540 pixels across to twice that are trained on, and left as they are.
_SMALLEST, _LARGEST, _TOLERANCE = 540, 1080, 1.1
_DARK = 30
# Deviations of the Gaussian windows of the local mean and the local spread, in pixels for 540 across.
_MEAN_WINDOW, _SPREAD_WINDOW = 16.0, 32.0
_NEUTRAL, _LEVELS_PER_SPREAD, _LEAST_SPREAD = 128.0, 32.0, 2.0


def field_of_view(image: Tensor) -> Tensor:
    """Return 1 inside the field of view of a fundus photograph (1, 3, H, W), else 0, (H, W).

    It is the largest region that is not dark (brightest channel above 30 of 255), its holes filled.
    """
    bright = cv2.medianBlur(np.ascontiguousarray(as_pixels(image).max(2)), 5)
    light = _largest((bright > _DARK).astype(np.uint8))
    around = np.pad(1 - light, 1, constant_values=1)
    _, labels = cv2.connectedComponents(around, connectivity=4)
    return torch.from_numpy((labels[1:-1, 1:-1] != labels[0, 0]).astype(np.float32))


def _largest(mask: Pixels) -> Pixels:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    return mask if count < 2 else (labels == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()).astype(np.uint8)


def diameter(fov: Tensor) -> int:
    """Return the longer side of the bounding box of a field of view (H, W) in pixels, 0 for an empty one."""
    rows, columns = torch.nonzero(fov.any(1)), torch.nonzero(fov.any(0))
    return max(int(places[-1] - places[0]) + 1 for places in (rows, columns)) if len(rows) else 0


def training_scale(fov: Tensor) -> float:
    """Return the factor that brings a field of view (H, W) to the 540 to 1080 pixels across that models are trained on.

    It is 1 within 10 % of that range, and for an empty one.
    """
    across = diameter(fov)
    if not across or _SMALLEST / _TOLERANCE <= across <= _LARGEST * _TOLERANCE:
        return 1.0
    return (_SMALLEST if across < _SMALLEST else _LARGEST) / across


def evened(photo: Tensor, fov: Tensor) -> Tensor:
    """Return uint8 (3, H, W) with the background evened out: 128 + 32 (v - mean) / spread, channel by channel.

    Local mean and local standard deviation (at least 2 levels) are taken inside the field of view (H, W) alone, so that
    its rim leaves no trace; outside is 128. Their windows grow with its diameter. What remains is what vessels are on
    every camera, whatever its light.
    """
    inside = np.ascontiguousarray(fov.numpy(), np.float32)
    scale = max(1.0, diameter(fov) / (_SMALLEST * _TOLERANCE))
    planes = [_evened(plane.numpy().astype(np.float32), inside, scale) for plane in photo]
    return torch.from_numpy(np.stack(planes))


def _evened(plane: NDArray[np.float32], inside: NDArray[np.float32], scale: float) -> Pixels:
    difference = plane - _local_mean(plane, inside, _MEAN_WINDOW * scale)
    spread = np.sqrt(_local_mean(difference**2, inside, _SPREAD_WINDOW * scale))
    values = _NEUTRAL + inside * difference * _LEVELS_PER_SPREAD / np.maximum(spread, _LEAST_SPREAD)
    return values.round().clip(0, 255).astype(np.uint8)


def _local_mean(plane: NDArray[np.float32], inside: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    total, share = (
        cv2.GaussianBlur(p, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT) for p in (plane * inside, inside)
    )
    return np.asarray(total / np.maximum(share, 1e-6), np.float32)
