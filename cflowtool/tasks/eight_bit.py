"""Images as the 8-bit arrays that OpenCV works on and that the field's metrics are defined for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..metrics.psnr import psnr_rgb
from ..metrics.ssim import ssim_y

Pixels = NDArray[np.uint8]
LARGEST_PSNR = 100.0


def as_bytes(image: Tensor) -> Tensor:
    """Return (C, H, W) uint8 of (1, C, H, W) in [0, 1]."""
    return (image[0] * 256).floor().clamp(0, 255).to(torch.uint8)


def as_pixels(image: Tensor) -> Pixels:
    """Return (H, W, C) uint8 of (1, C, H, W) in [0, 1]."""
    return as_bytes(image).permute(1, 2, 0).contiguous().cpu().numpy()


def each(images: Tensor, function: Callable[[int, Pixels], NDArray[Any]]) -> Tensor:
    """Return function(index, pixels (H, W, 3)), uint8, of every image (B, 3, H, W) as midpoints (B, 3, H, W)."""
    done = [torch.from_numpy(function(i, as_pixels(images[i : i + 1]))) for i in range(len(images))]
    return ((torch.stack(done).permute(0, 3, 1, 2) + 0.5) / 256).to(images)


def psnr(result: Tensor, truth: Tensor, within: Tensor | None = None) -> float:
    """Return the PSNR over RGB of the 8-bit images (1, 3, H, W) in dB, at most 100, of the pixels within alone."""
    return min(LARGEST_PSNR, psnr_rgb(as_bytes(result), as_bytes(truth), mask=within))


def fidelity(result: Tensor, truth: Tensor) -> dict[str, float]:
    """Return PSNR over RGB in dB, at most 100, and SSIM on Y of the 8-bit images (1, 3, H, W), nothing cropped."""
    return {"psnr": psnr(result, truth), "ssim": ssim_y(as_bytes(result), as_bytes(truth))}
