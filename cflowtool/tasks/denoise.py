"""Denoising: x is y with Gaussian noise of a known or estimated strength."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import UsageError, escape
from ..images import quantise
from .base import Task
from .chance import generators, interval, uniform
from .colorize import levels, luma, midpoints
from .eight_bit import Pixels, each, fidelity
from .noise import estimate_sigma, is_grey

_PLANE_UNIT = 50.0
_STRONGEST, _WEAKEST = 200.0, 0.1
# The filter strengths in units of x's sigma at which OpenCV's filter has the highest PSNR (0.4 to 1.2 tried).
_FILTER_STRENGTH, _FILTER_STRENGTH_GREY = 0.65, 0.5
# BM3D stops the process at 8 x 8 pixels.
_BM3D_SMALLEST = 16


class Denoise(Task):
    """x is y plus N(0, sigma^2) noise, clipped and rounded to 8 bit, and a plane of sigma / 50 (c-Glow section 5.4).

    ``sigma``, in 8-bit levels, is a number or a range that each image's own is drawn from. The noise of a grey image is
    the same in all channels, and its plane is sqrt(3) sigma / 50: that noise in the direction (1, 1, 1) / sqrt(3), in
    which colour noise has sigma. ``grey`` is the share of training crops that are made grey. ``known_sigma`` is that of
    the images given by a user, by default the number; where it is None, sigma is estimated.
    """

    name = "denoise"
    baseline_name = "non-local means"
    x_channels = 4
    near_baseline = False

    def __init__(self, sigma: float | Sequence[float] = (5.0, 50.0), grey: float = 0.0) -> None:
        self.low, self.high = interval("sigma", sigma, 0.0, _STRONGEST)
        self.grey = interval("grey", grey, 0.0, 1.0)[0]
        self.known_sigma: float | None = self.low if self.low == self.high else None

    def adapt(self, sigma: object = None, **settings: object) -> None:
        """Take the ``sigma`` of all images, given or made by ``pair``; errors and other settings as of the base."""
        super().adapt(**settings)
        if sigma is None:
            return
        try:
            self.low, self.high = interval("sigma", cast(float, sigma), 0.0, _STRONGEST)
        except ValueError as error:
            raise UsageError(
                escape(error), f"give the noise's deviation in 8-bit levels, 0 to {_STRONGEST:g}"
            ) from error
        self.known_sigma = self.low if self.low == self.high else None

    def pair(self, truth: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return x (B, 4, H, W), the noisy truth and its sigma, and y, the truth; with a generator some are grey."""
        share = 0.0 if generator is None else self.grey
        sources = generators(truth, generator)
        pairs = [self._pair(image[None], own, share) for image, own in zip(truth, sources, strict=True)]
        x, y = zip(*pairs, strict=True)
        return torch.cat(x), torch.cat(y)

    def _pair(self, image: Tensor, generator: torch.Generator, share: float) -> tuple[Tensor, Tensor]:
        sigma = uniform(self.low, self.high, generator)
        if share and uniform(0, 1, generator) < share:
            image = midpoints(luma(levels(image)).round(), image).expand_as(image)
        channels = 1 if is_grey(image) else image.shape[1]
        noise = torch.randn(image[:, :channels].shape, generator=generator).to(image)
        return with_plane(quantise(image + sigma / 256 * noise), sigma), image

    def condition(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return a noisy image and the plane of its known sigma, or of the estimated one inside the task's range.

        A ``mask`` is such a plane, (1, 1, H, W), known from elsewhere.
        """
        if mask is not None:
            return torch.cat((image, mask), 1)
        sigma = self.known_sigma
        if sigma is None:
            sigma = min(max(estimate_sigma(image), self.low), self.high)
        return with_plane(image, sigma)

    def assemble(self, x: Tensor, y: Tensor) -> Tensor:
        """Return y: it is the restored image."""
        return y

    def baseline(self, x: Tensor) -> Tensor:
        """Return OpenCV's non-local means of x at its sigma."""
        return each(x[:, :3], lambda index, pixels: _non_local_means(pixels, _sigma(x[index])))

    def baselines(self, image: Tensor, x: Tensor) -> dict[str, Tensor]:
        """Return OpenCV's non-local means of x and, where the package bm3d is installed, BM3D, at x's sigma."""
        found = super().baselines(image, x)
        if find_spec("bm3d"):
            found["bm3d"] = each(x[:, :3], lambda index, pixels: _bm3d(pixels, _sigma(x[index])))
        return found

    def metrics(self, result: Tensor, truth: Tensor, within: Tensor | None = None) -> dict[str, float]:
        """Return PSNR over RGB (at most 100 dB) and SSIM on Y of the 8-bit images."""
        return fidelity(result, truth)

    def degraded_error(self, x: Tensor, result: Tensor) -> Tensor:
        """Return each result minus the noisy image (B, 3, H, W): noise has mean 0, so that this is what it removed."""
        return result - x[:, :3]


def with_plane(image: Tensor, sigma: float) -> Tensor:
    """Return an image (B, 3, H, W) with a fourth channel of sigma / 50, of sqrt(3) sigma / 50 where it is grey."""
    strength = torch.where(is_grey(image), math.sqrt(3) * sigma, sigma) / _PLANE_UNIT
    return torch.cat((image, strength.to(image)[:, None, None, None].expand_as(image[:, :1])), 1)


def _sigma(x: Tensor) -> float:
    """Return the deviation of the noise of one x (4, H, W) in the direction (1, 1, 1) / sqrt(3)."""
    return max(_PLANE_UNIT * float(x[3].mean()), _WEAKEST)


def _has_no_colour(pixels: Pixels) -> bool:
    return bool((pixels == pixels[..., :1]).all())


def _non_local_means(pixels: Pixels, sigma: float) -> NDArray[Any]:
    h = (_FILTER_STRENGTH_GREY if _has_no_colour(pixels) else _FILTER_STRENGTH) * sigma
    found = cv2.fastNlMeansDenoisingColored(pixels[..., ::-1].copy(), None, h, h, 7, 21)
    return np.ascontiguousarray(found[..., ::-1])


def _bm3d(pixels: Pixels, sigma: float) -> NDArray[Any]:
    import bm3d

    height, width = pixels.shape[:2]
    missing = ((0, max(0, _BM3D_SMALLEST - height)), (0, max(0, _BM3D_SMALLEST - width)), (0, 0))
    noisy = np.pad(pixels, missing, "symmetric") / 255
    with np.errstate(all="ignore"):
        if _has_no_colour(pixels):
            found = np.repeat(bm3d.bm3d(noisy[..., 0], sigma / 255 / math.sqrt(3))[..., None], 3, 2)
        else:
            found = bm3d.bm3d_rgb(noisy, sigma / 255)
    found = np.where(np.isfinite(found), found, noisy)[:height, :width]
    result: Pixels = np.rint(255 * found).clip(0, 255).astype(np.uint8)
    return result
