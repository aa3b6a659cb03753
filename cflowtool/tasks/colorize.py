"""Colorization: x is the luma, y the chroma, of full-range BT.601 YCbCr (JFIF)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..metrics.colour import colourfulness
from ..metrics.ssim import ssim_y
from .base import Task
from .eight_bit import as_bytes, psnr

_RED, _BLUE = 0.299, 0.114
_GREEN = 1 - _RED - _BLUE
_CB, _CR = 2 * (1 - _BLUE), 2 * (1 - _RED)
_NEUTRAL = 128


def levels(image: Tensor) -> Tensor:
    """Return midpoints (v + 1/2) / 256 as levels v, in float64."""
    values: Tensor = 256 * image.double() - 0.5
    return values


def midpoints(values: Tensor, like: Tensor) -> Tensor:
    """Return levels v as midpoints (v + 1/2) / 256, in the type of another tensor."""
    return ((values + 0.5) / 256).to(like)


def luma(image: Tensor) -> Tensor:
    """Return Y = 0.299 R + 0.587 G + 0.114 B (B, 1, H, W) of levels (B, 3, H, W); grey keeps its value exactly."""
    red, green, blue = image.split(1, 1)
    value: Tensor = green + _RED * (red - green) + _BLUE * (blue - green)
    return value


def from_luma_and_chroma(y: Tensor, chroma: Tensor) -> Tensor:
    """Return RGB levels in [0, 255] of levels Y (B, 1, H, W) and Cb, Cr (B, 2, H, W).

    R = Y + 1.402 (Cr - 128), B = Y + 1.772 (Cb - 128), G such that the luma is Y; a colour outside the gamut moves
    along the line to the grey of its luma as far as the gamut's surface.
    """
    blue, red = (chroma - _NEUTRAL).split(1, 1)
    difference = torch.cat((_CR * red, -(_RED * _CR * red + _BLUE * _CB * blue) / _GREEN, _CB * blue), 1)
    room = torch.where(difference > 0, 255 - y, y)
    share = (room / difference.abs().clamp_min(1e-12)).amin(1, keepdim=True).clamp(0, 1)
    return (y + share * difference).clamp(0, 255)


class Colorize(Task):
    """y is the chroma (Cb, Cr), rounded to 8 bit, of a photograph whose rounded luma x is given (CAFLOW section 5.2).

    The luma of an assembled image is x: of the unrounded image always, and of its 8-bit image, rounded again, to the
    bit wherever x is a level, whatever y is. A truth comes back to within 1 level a channel where its rounded luma and
    chroma are a colour inside the gamut (98.8 % of all colours), to within 9 elsewhere.
    """

    name = "colorize"
    baseline_name = "grey"
    x_channels = 1
    y_channels = 2
    near_baseline = False

    def pair(self, truth: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return x (B, 1, H, W) = round(Y) and y (B, 2, H, W) = round(Cb, Cr)."""
        values = levels(truth)
        y = luma(values)
        chroma = _NEUTRAL + torch.cat(((values[:, 2:] - y) / _CB, (values[:, :1] - y) / _CR), 1)
        return midpoints(y.round(), truth), midpoints(chroma.round().clamp(0, 255), truth)

    def condition(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the luma of a grey or colour image, not rounded, so that 16-bit grey stays what it is."""
        return midpoints(luma(levels(image)), image)

    def assemble(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the RGB image of luma x and chroma y."""
        return midpoints(from_luma_and_chroma(levels(x), levels(y)), y)

    def baseline(self, x: Tensor) -> Tensor:
        """Return the grey image."""
        return x.expand(-1, 3, -1, -1)

    def metrics(self, result: Tensor, truth: Tensor, within: Tensor | None = None) -> dict[str, float]:
        """Return PSNR over RGB (at most 100 dB), SSIM on Y and the result's colourfulness, of the 8-bit images."""
        pair = as_bytes(result), as_bytes(truth)
        return {"psnr": psnr(result, truth), "ssim": ssim_y(*pair), "colourfulness": float(colourfulness(pair[0]))}

    def degraded_error(self, x: Tensor, result: Tensor) -> Tensor:
        """Return the luma of each result minus x, (B, 1, H, W)."""
        return midpoints(luma(levels(result)), x) - x
