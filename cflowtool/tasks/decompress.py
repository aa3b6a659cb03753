"""Decompression: x is y as a JPEG file shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .base import Task
from .chance import generators, interval, uniform
from .eight_bit import Pixels, each, fidelity


def compressed(image: Tensor, qualities: Sequence[int]) -> Tensor:
    """Return images (B, 3, H, W) as read back from JPEGs (libjpeg, 4:2:0) of these qualities, one an image."""

    def through_jpeg(index: int, pixels: Pixels) -> NDArray[Any]:
        options = [cv2.IMWRITE_JPEG_QUALITY, qualities[index]]
        _, data = cv2.imencode(".jpg", pixels[..., ::-1], options)
        return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])  # type: ignore[index]

    return each(image, through_jpeg)


class Decompress(Task):
    """y is the image, x its 8-bit JPEG of ``quality`` 1 to 100, a number or a range drawn from (TIM section 4)."""

    name = "decompress"
    baseline_name = "jpeg"

    def __init__(self, quality: float | Sequence[float] = 10) -> None:
        low, high = interval("quality", quality, 1, 100)
        self.low, self.high = round(low), round(high)

    def pair(self, truth: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return x, each image compressed at a quality of its own, and y, the truth."""
        drawn = [int(uniform(self.low, self.high + 1, own)) for own in generators(truth, generator)]
        return compressed(truth, drawn), truth

    def condition(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the image itself: it is what we were given."""
        return image

    def assemble(self, x: Tensor, y: Tensor) -> Tensor:
        """Return y: it is the restored image."""
        return y

    def baseline(self, x: Tensor) -> Tensor:
        """Return x: it is what every viewer shows."""
        return x

    def metrics(self, result: Tensor, truth: Tensor, within: Tensor | None = None) -> dict[str, float]:
        """Return PSNR over RGB (at most 100 dB) and SSIM on Y of the 8-bit images."""
        return fidelity(result, truth)

    def degraded_error(self, x: Tensor, result: Tensor) -> Tensor:
        """Return each result minus x, (B, 3, H, W), the former compressed again where x's quality is known.

        It is known when the task's is one number; tiles then have to start at multiples of 8, as JPEG's blocks do.
        """
        return (compressed(result, [self.low] * len(result)) if self.low == self.high else result) - x
