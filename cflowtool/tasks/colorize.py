"""Colorization: x is the luma, y the chroma, of full-range BT.601 YCbCr (JFIF)."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor

from ..metrics.colour import colourfulness
from ..metrics.perceptual import has_lite0, lite0_distance
from ..metrics.ssim import ssim_y
from .base import Task
from .eight_bit import as_bytes, psnr
from .upsample import JointUpsampling

_RED, _BLUE = 0.299, 0.114
_GREEN = 1 - _RED - _BLUE
_CB, _CR = 2 * (1 - _BLUE), 2 * (1 - _RED)
_NEUTRAL = 128
_SMALLEST_SIDE = 16
_ROWS = 256
# Chroma that is a function of luma to within so many levels is that of grey, sepia and tinted photographs.
_OWN_COLOUR, _JUDGED_SIDE = 1.75, 192


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


def rounded(y: Tensor, image: Tensor) -> Tensor:
    """Return levels Y rounded to what an image at midpoints can store: to 1, or 1 / 256 where it has 16 bits."""
    # No midpoint of 16 bits is one of 8 bits, so that any value of the image tells.
    fine = 1 if float(levels(image.flatten()[0])).is_integer() else 256
    stored: Tensor = ((y + 0.5) * fine - 0.5).round()
    return (stored + 0.5) / fine - 0.5


def chroma(image: Tensor) -> Tensor:
    """Return Cb = 128 + (B - Y) / 1.772 and Cr = 128 + (R - Y) / 1.402, (B, 2, H, W), of levels (B, 3, H, W)."""
    y = luma(image)
    return _NEUTRAL + torch.cat(((image[:, 2:] - y) / _CB, (image[:, :1] - y) / _CR), 1)


def from_luma_and_chroma(y: Tensor, colours: Tensor) -> Tensor:
    """Return RGB levels in [0, 255] of levels Y (B, 1, H, W) and Cb, Cr (B, 2, H, W).

    R = Y + 1.402 (Cr - 128), B = Y + 1.772 (Cb - 128), G such that the luma is Y; a colour outside the gamut moves
    along the line to the grey of its luma as far as the gamut's surface. The lightest grey of 16 bits is half a level
    of 8 above 255, the darkest half a level below 0: such a luma is kept, grey.
    """
    blue, red = (colours - _NEUTRAL).split(1, 1)
    difference = torch.cat((_CR * red, -(_RED * _CR * red + _BLUE * _CB * blue) / _GREEN, _CB * blue), 1)
    room = torch.where(difference > 0, 255 - y, y)
    share = (room / difference.abs().clamp_min(1e-12)).amin(1, keepdim=True).clamp(0, 1)
    return torch.maximum(torch.minimum(y + share * difference, y.clamp_min(255)), y.clamp_max(0))


def shrunk(planes: Tensor, side: int) -> Tensor:
    """Return (..., h, w), h and w at most ``side``, of (..., H, W): the average over each pixel's area, float64.

    What is small enough is left as it is.
    """
    height, width = planes.shape[-2:]
    if max(height, width) <= side:
        return planes.double()
    factor = side / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    flat = planes.double().reshape(-1, height, width).cpu().numpy()
    done = np.stack([cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in flat])
    return torch.from_numpy(done).reshape(*planes.shape[:-2], *done.shape[1:]).to(planes.device)


def own_colour(photo: Tensor) -> float:
    """Return the root mean square, in levels, of what of Cb and Cr of (C, H, W) no quadratic of the luma explains."""
    levels_of = photo[None, :3].double()
    y = luma(levels_of).flatten() / 255
    powers = torch.stack((torch.ones_like(y), y, y.square()), 1)
    colours = chroma(levels_of)[0].flatten(1).T
    rest = colours - powers @ torch.linalg.lstsq(powers, colours, driver="gelsd").solution
    return float(rest.square().sum(1).mean().sqrt())


def _luma_of(image: Tensor) -> Tensor:
    """Return the levels' luma (B, 1, H, W) of an image (B, 3, H, W), some rows at a time."""
    return torch.cat([luma(levels(rows)) for rows in image.split(_ROWS, 2)], 2)


class Colorize(Task):
    """y is the chroma (Cb, Cr), rounded to 8 bit, of a photograph whose rounded luma x is given (CAFLOW section 5.2).

    The luma of an assembled image is x: of the unrounded image always, and of its 8-bit image, rounded again, to the
    bit wherever x is a level, whatever y is. A truth comes back to within 1 level a channel where its rounded luma and
    chroma are a colour inside the gamut (98.8 % of all colours), to within 9 elsewhere.

    With a ``side`` photographs are trained on, and images coloured, at a working size of at most so many pixels on the
    long side; ``finish`` brings the chroma to an image's own size along the edges of its luma, which is kept.
    """

    name = "colorize"
    baseline_name = "grey"
    x_channels = 1
    y_channels = 2
    near_baseline = False
    result_channels = 3

    def __init__(self, side: int | None = None) -> None:
        if side is not None and (isinstance(side, bool) or not isinstance(side, int) or side < _SMALLEST_SIDE):
            raise ValueError(f"side is at least {_SMALLEST_SIDE} pixels, not {side!r}")
        self.side, self.resized = side, side is not None

    def _working(self, planes: Tensor) -> Tensor:
        return planes if self.side is None else shrunk(planes, self.side)

    def prepare(self, photo: Tensor) -> Tensor:
        """Return uint8 (3, h, w) at the working size."""
        return photo if self.side is None else shrunk(photo, self.side).round().to(torch.uint8)

    def usable(self, photo: Tensor) -> bool:
        """Return whether a photograph has colours of its own: not grey, nor sepia, nor of any other one tint."""
        return own_colour(shrunk(photo, _JUDGED_SIDE)) >= _OWN_COLOUR

    def given(self, truth: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """Return the grey image, no mask, and the truth."""
        return self.pair(truth)[0].expand(-1, 3, -1, -1), None, truth

    def pair(self, truth: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return x (B, 1, H, W) = round(Y) and y (B, 2, H, W) = round(Cb, Cr)."""
        values = levels(truth)
        return midpoints(luma(values).round(), truth), midpoints(chroma(values).round().clamp(0, 255), truth)

    def condition(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the luma of a grey or colour image at the working size, not rounded: 16-bit grey stays what it is."""
        return midpoints(self._working(_luma_of(image)), image)

    def assemble(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the RGB image of luma x and chroma y."""
        return midpoints(from_luma_and_chroma(levels(x), levels(y)), y)

    def finish(self, image: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Return RGB of the image's own luma and of samples' chroma, upsampled along its edges; float64, for 16 bits.

        Whatever y is, the stored result has the image's luma, rounded to its bits.
        """
        rows_of, height = self.finisher(image, x, y), image.shape[-2]
        return torch.cat([rows_of(slice(top, min(top + _ROWS, height))) for top in range(0, height, _ROWS)], 2)

    def finisher(self, image: Tensor, x: Tensor, y: Tensor) -> Callable[[slice], Tensor]:
        """Return what gives some rows of ``finish``."""
        height, width = image.shape[-2:]
        upsampling = JointUpsampling(levels(x), levels(y), width)

        def finished(rows: slice) -> Tensor:
            full = rounded(luma(levels(image[..., rows, :])), image)
            colours = from_luma_and_chroma(full, upsampling.rows(rows.start, height, full))
            return midpoints(colours, colours)

        return finished

    def target(self, image: Tensor, x: Tensor, result: Tensor) -> Tensor:
        """Return the chroma of a result at the working size, rounded as that of a pair, (1, 2, h, w)."""
        return midpoints(self._working(chroma(levels(result))).round().clamp(0, 255), x)

    def baseline(self, x: Tensor) -> Tensor:
        """Return the grey image."""
        return x.expand(-1, 3, -1, -1)

    def baselines(self, image: Tensor, x: Tensor) -> dict[str, Tensor]:
        """Return the grey image at the size of the user's."""
        return {self.baseline_name: self.baseline(midpoints(_luma_of(image), image))}

    def metrics(self, result: Tensor, truth: Tensor, within: Tensor | None = None) -> dict[str, float]:
        """Return PSNR over RGB (at most 100 dB), SSIM on Y and the result's colourfulness, of the 8-bit images, and,
        where its network is installed, the distance lite0 to the truth."""
        pair = as_bytes(result), as_bytes(truth)
        found = {"psnr": psnr(result, truth), "ssim": ssim_y(*pair), "colourfulness": float(colourfulness(pair[0]))}
        if has_lite0():
            found["lite0"] = float(lite0_distance(result.clamp(0, 1).float(), truth.float()))
        return found

    def degraded_error(self, x: Tensor, result: Tensor) -> Tensor:
        """Return the luma of each result minus x, (B, 1, H, W)."""
        return midpoints(luma(levels(result)), x) - x
