"""Peak signal-to-noise ratio, of the luma as the super-resolution papers measure it and of all three channels."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def luma(rgb: Tensor) -> Tensor:
    """BT.601 luma in [16, 235], Y = 16 + (65.481 R + 128.553 G + 24.966 B) / 255: uint8 (..., 3, H, W) -> float64
    (..., H, W), not rounded.

    Raises ValueError for anything but uint8 with three channels.
    """
    if rgb.dtype != torch.uint8 or rgb.ndim < 3 or rgb.shape[-3] != 3:
        raise ValueError(f"luma wants uint8 (..., 3, H, W), not {rgb.dtype} {tuple(rgb.shape)}")
    weights = torch.tensor([65.481, 128.553, 24.966], dtype=torch.float64, device=rgb.device) / 255
    return 16 + (rgb.double() * weights[:, None, None]).sum(-3)


def psnr_y(result: Tensor, truth: Tensor, border: int = 0) -> float:
    """PSNR of the luma in dB, 10 log10(255^2 / mean (Y' - Y)^2), `border` pixels cut off each side; inf when equal.

    Both uint8 (3, H, W), or (B, 3, H, W) pooled into one mean squared error. Raises ValueError on unequal shapes.
    """
    same_shape(result, truth)
    return _psnr(luma(cut(result, border)) - luma(cut(truth, border)))


def psnr_rgb(result: Tensor, truth: Tensor, border: int = 0, mask: Tensor | None = None) -> float:
    """PSNR over all three channels in dB, otherwise as `psnr_y`; of the pixels in the boolean `mask` (H, W) alone when
    there is one, as of the hole when inpainting. Raises ValueError for a mask that does not fit or is empty."""
    same_shape(result, truth)
    if result.dtype != torch.uint8 or truth.dtype != torch.uint8:
        raise ValueError(f"psnr_rgb wants uint8, not {result.dtype} and {truth.dtype}")
    difference = cut(result, border).double() - cut(truth, border).double()
    return _psnr(difference if mask is None else difference[..., _kept(mask, truth, border)])


def same_shape(result: Tensor, truth: Tensor) -> None:
    """Raises ValueError unless both have one shape, so that nothing is broadcast in silence."""
    if result.shape != truth.shape:
        raise ValueError(f"shapes differ: {tuple(result.shape)} and {tuple(truth.shape)}")


def cut(image: Tensor, border: int) -> Tensor:
    """`image` (..., H, W) without `border` pixels at each side; raises ValueError when nothing is left."""
    height, width = image.shape[-2:]
    if border < 0 or min(height, width) <= 2 * border:
        raise ValueError(f"no pixel of {height} x {width} is left inside a border of {border}")
    return image[..., border : height - border, border : width - border]


def _kept(mask: Tensor, image: Tensor, border: int) -> Tensor:
    if mask.dtype != torch.bool or mask.shape != image.shape[-2:]:
        raise ValueError(f"a boolean mask {tuple(image.shape[-2:])} wanted, not {mask.dtype} {tuple(mask.shape)}")
    kept = cut(mask, border)
    if not kept.any():
        raise ValueError("the mask holds no pixel to measure")
    return kept


def _psnr(difference: Tensor) -> float:
    error = difference.square().mean().item()
    return 10 * math.log10(255**2 / error) if error > 0 else math.inf
