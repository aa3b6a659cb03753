"""Denoising: x is y with Gaussian noise of a known or estimated strength."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..images import quantise
from .base import Task
from .chance import generators, interval, uniform
from .eight_bit import Pixels, each, fidelity

_PLANE_UNIT = 50.0
_STRONGEST = 200.0
# The filter strength in units of sigma at which OpenCV's filter has the highest PSNR (0.4 to 1.2 tried).
_FILTER_STRENGTH = 0.65
_MAD = 0.6745


def estimate_sigma(image: Tensor) -> float:
    """Return the standard deviation of white noise in an image (1, C, H, W), in 8-bit levels.

    The median of |n * image| / 0.6745, n = [1 -2 1]' [1 -2 1] / 6 (Immerkaer 1996), whose response to noise has the
    noise's own deviation. Windows that touch the lowest or highest level, where noise is clipped, do not count as long
    as there are others; texture adds to the result. Less than 3 x 3 pixels give 0.
    """
    values = 256 * image.flatten(0, 1)[:, None]
    if min(values.shape[-2:]) < 3:
        return 0.0
    second = torch.tensor([1.0, -2.0, 1.0], dtype=values.dtype, device=values.device)
    response = F.conv2d(values, torch.outer(second, second)[None, None] / 6).abs()
    clear = (F.max_pool2d(values, 3, 1) < 255) & (F.max_pool2d(-values, 3, 1) < -1)
    return float((response[clear] if clear.any() else response).median()) / _MAD


class Denoise(Task):
    """x is y plus N(0, sigma^2) noise, clipped and rounded to 8 bit, and a plane of sigma / 50 (c-Glow section 5.4).

    ``sigma``, in 8-bit levels, is a number or a range that each image's own is drawn from. ``known_sigma`` is that of
    the images given by a user, by default the number; where it is None, sigma is estimated.
    """

    name = "denoise"
    baseline_name = "non-local means"
    x_channels = 4

    def __init__(self, sigma: float | Sequence[float] = (5.0, 50.0)) -> None:
        self.low, self.high = interval("sigma", sigma, 0.0, _STRONGEST)
        self.known_sigma: float | None = self.low if self.low == self.high else None

    def pair(self, truth: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return x (B, 4, H, W), the noisy truth and its sigma, and y, the truth."""
        sources = generators(truth, generator)
        return torch.cat([self._noisy(image[None], own) for image, own in zip(truth, sources, strict=True)]), truth

    def _noisy(self, image: Tensor, generator: torch.Generator) -> Tensor:
        sigma = uniform(self.low, self.high, generator)
        noise = torch.randn(image.shape, generator=generator).to(image)
        return with_plane(quantise(image + sigma / 256 * noise), sigma)

    def condition(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return a noisy image and the plane of its known sigma, or of the estimated one inside the task's range."""
        sigma = self.known_sigma
        if sigma is None:
            sigma = min(max(estimate_sigma(image), self.low), self.high)
        return with_plane(image, sigma)

    def assemble(self, x: Tensor, y: Tensor) -> Tensor:
        """Return y: it is the restored image."""
        return y

    def baseline(self, x: Tensor) -> Tensor:
        """Return OpenCV's non-local means of x at its sigma."""
        strength = _FILTER_STRENGTH * _PLANE_UNIT * x[:, 3].mean((1, 2))

        def filtered(index: int, pixels: Pixels) -> NDArray[Any]:
            h = max(float(strength[index]), 0.1)
            found = cv2.fastNlMeansDenoisingColored(pixels[..., ::-1].copy(), None, h, h, 7, 21)
            return np.ascontiguousarray(found[..., ::-1])

        return each(x[:, :3], filtered)

    def metrics(self, result: Tensor, truth: Tensor, within: Tensor | None = None) -> dict[str, float]:
        """Return PSNR over RGB (at most 100 dB) and SSIM on Y of the 8-bit images."""
        return fidelity(result, truth)

    def degraded_error(self, x: Tensor, result: Tensor) -> Tensor:
        """Return each result minus the noisy image (B, 3, H, W): noise has mean 0, so that this is what it removed."""
        return result - x[:, :3]


def with_plane(image: Tensor, sigma: float) -> Tensor:
    """Return an image (B, 3, H, W) with a fourth channel of sigma / 50."""
    return torch.cat((image, torch.full_like(image[:, :1], sigma / _PLANE_UNIT)), 1)
