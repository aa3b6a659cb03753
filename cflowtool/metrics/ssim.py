"""Structural similarity of the luma, after Wang, Bovik, Sheikh and Simoncelli (2004)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from cflowtool.metrics.psnr import cut, luma, same_shape

WINDOW = 11
SIGMA = 1.5
C1 = (0.01 * 255) ** 2
C2 = (0.03 * 255) ** 2


def ssim_y(result: Tensor, truth: Tensor, border: int = 0) -> float:
    """Mean SSIM of the luma over the Gaussian 11 x 11 windows (sigma 1.5) that lie inside the image, in [-1, 1].

    SSIM = (2 m_a m_b + C1)(2 s_ab + C2) / ((m_a^2 + m_b^2 + C1)(s_a^2 + s_b^2 + C2)), C1 = (0.01 * 255)^2,
    C2 = (0.03 * 255)^2, `border` pixels cut off first. Both uint8 (3, H, W), or (B, 3, H, W) for the mean over all.
    Raises ValueError on unequal shapes or when less than 11 x 11 pixels are left.
    """
    same_shape(result, truth)
    a, b = (luma(cut(image, border)).unflatten(-2, (1, -1)) for image in (result, truth))
    if min(a.shape[-2:]) < WINDOW:
        raise ValueError(f"SSIM needs {WINDOW} x {WINDOW} pixels, {tuple(a.shape[-2:])} are left")
    mean_a, mean_b = _blur(a), _blur(b)
    var_a, var_b = _blur(a * a) - mean_a**2, _blur(b * b) - mean_b**2
    covariance = _blur(a * b) - mean_a * mean_b
    above = (2 * mean_a * mean_b + C1) * (2 * covariance + C2)
    below = (mean_a**2 + mean_b**2 + C1) * (var_a + var_b + C2)
    return float((above / below).mean())


def _blur(image: Tensor) -> Tensor:
    offsets = torch.arange(WINDOW, dtype=image.dtype, device=image.device) - WINDOW // 2
    kernel = torch.softmax(-(offsets**2) / (2 * SIGMA**2), 0)
    return F.conv2d(F.conv2d(image, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
