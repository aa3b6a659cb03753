"""Super-resolution: x is y shrunk by the antialiased bicubic kernel."""

from __future__ import annotations

import torch
from torch import Tensor

from ..images import bicubic_resize, quantise
from ..metrics.psnr import psnr_y
from ..metrics.ssim import ssim_y
from .base import Task
from .eight_bit import LARGEST_PSNR, as_bytes


class SuperResolve(Task):
    """y is the image, x is y at 1 / scale of its size, rounded to 8 bit (CNF section 5.1)."""

    name = "super-resolve"
    baseline_name = "bicubic"

    def __init__(self, scale: int = 2) -> None:
        self.scale = scale

    def measurable(self, height: int, width: int) -> bool:
        """Return whether an image is large enough for the 11 x 11 window of SSIM inside its cropped border."""
        height, width = (side // self.scale * self.scale - 2 * self.scale for side in (height, width))
        return super().measurable(height, width)

    def pair(self, truth: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return x = quantise(bicubic(y, 1 / scale)) and y, the truth cut to a multiple of the scale."""
        height, width = (side - side % self.scale for side in truth.shape[-2:])
        y = truth[..., :height, :width]
        return self.shrink(y), y

    def shrink(self, y: Tensor) -> Tensor:
        """Return y at 1 / scale of its size, rounded to 8 bit."""
        return quantise(bicubic_resize(y, (y.shape[-2] // self.scale, y.shape[-1] // self.scale)))

    def condition(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the image itself: it is what we were given."""
        return image

    def assemble(self, x: Tensor, y: Tensor) -> Tensor:
        """Return y: it is the restored image."""
        return y

    def baseline(self, x: Tensor) -> Tensor:
        """Return the bicubic upsampling of x."""
        return bicubic_resize(x, (x.shape[-2] * self.scale, x.shape[-1] * self.scale))

    def metrics(self, result: Tensor, truth: Tensor, within: Tensor | None = None) -> dict[str, float]:
        """Return PSNR (at most 100 dB) and SSIM on Y of the 8-bit images, ``scale`` pixels of border cropped."""
        pair = as_bytes(result), as_bytes(truth)
        psnr = min(LARGEST_PSNR, psnr_y(*pair, border=self.scale))
        return {"psnr": psnr, "ssim": ssim_y(*pair, border=self.scale)}

    def degraded_error(self, x: Tensor, result: Tensor) -> Tensor:
        """Return each result (B, C, H, W), shrunk by the bicubic kernel and not rounded, minus x, (B, C, h, w)."""
        return bicubic_resize(result, (x.shape[-2], x.shape[-1])) - x
