"""Vessel segmentation: y is the mask of the vessels in a photograph of the retina, x."""

from __future__ import annotations

import math
from importlib.util import find_spec

import cv2
import numpy as np
import torch
from torch import Tensor

from ..metrics.segmentation import precision_recall_curve
from .eight_bit import Pixels, as_pixels
from .segment import Segment, resized

# The diameter of the field of view of DRIVE, which is left as it is, like all that is within a tenth of it.
_DIAMETER, _TOLERANCE = 540, 1.1
_DARK = 30
_RIM = 15
_SCALES = (1.0, 2.0, 3.0, 4.0)
_SMALLEST, _LARGEST, _SHEAR_DEGREES, _STEEPEST = 0.8, 1.2, 10.0, 45.0


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


def training_scale(fov: Tensor) -> float:
    """Return the factor that brings a field of view (H, W) to the 540 pixels across that models are trained on.

    Its diameter is the longer side of its bounding box. It is 1 within 10 % of 540, and for an empty one.
    """
    rows, columns = torch.nonzero(fov.any(1)), torch.nonzero(fov.any(0))
    if not len(rows):
        return 1.0
    diameter = max(int(places[-1] - places[0]) + 1 for places in (rows, columns))
    factor = _DIAMETER / diameter
    return 1.0 if 1 / _TOLERANCE <= factor <= _TOLERANCE else factor


class SegmentVessels(Segment):
    """A truth is photograph, vessels and field of view; y is the mask of the vessels (CNF section 5.2).

    Photographs are trained on at one scale, that of DRIVE. With ``augment``, crops are turned by any angle, scaled by
    0.8 to 1.2 and sheared by N(0, 10 degrees), as in the paper. What is outside the field of view is not measured.
    """

    name = "segment-vessels"
    masks = (("manual1", "1st_manual", "manual"), ("fov", "mask"))
    held_out_share = 0.15
    whole = True

    def __init__(self, augment: bool = False) -> None:
        super().__init__(1)
        if not isinstance(augment, bool):
            raise ValueError(f"augment is true or false, not {augment!r}")
        self.augment = augment
        self.baseline_name = "frangi" if find_spec("skimage") else "black-hat"

    def prepare(self, photo: Tensor) -> Tensor:
        """Return uint8 (5, H, W) at the training scale; masks, 0 and 255, stay binary."""
        factor = training_scale(photo[4] > 127)
        if factor == 1:
            return photo
        return resized(photo, round(photo.shape[1] * factor), round(photo.shape[2] * factor))

    def distortion(self, generator: torch.Generator) -> Tensor | None:
        """Return rotation * shear / scale (2, 2) (CNF section 5.2), None without ``augment``."""
        if not self.augment:
            return None
        angle, scale = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        shear = _SHEAR_DEGREES * float(torch.randn((), generator=generator, dtype=torch.float64))
        slope = math.tan(math.radians(min(max(shear, -_STEEPEST), _STEEPEST)))
        cosine, sine = math.cos(2 * math.pi * angle), math.sin(2 * math.pi * angle)
        turn = torch.tensor([[cosine, -sine], [sine, cosine]], dtype=torch.float64)
        sheared = turn @ torch.tensor([[1.0, slope], [0.0, 1.0]], dtype=torch.float64)
        return sheared.div(_SMALLEST + (_LARGEST - _SMALLEST) * scale)

    def within(self, x: Tensor, truth: Tensor) -> Tensor:
        """Return the field of view."""
        return truth[0, 4] > 0.5

    def baseline(self, x: Tensor) -> Tensor:
        """Return what a vessel filter makes of the green channel, in [0, 1], (B, 1, H, W).

        The filter is scikit-image's Frangi where it is installed, else the black top-hat; the rim of the field of view
        does not count.
        """
        return torch.stack([self._filtered(image[None]) for image in x]).to(x)

    def _filtered(self, image: Tensor) -> Tensor:
        green = as_pixels(image)[..., 1]
        inside = cv2.erode(field_of_view(image).numpy(), np.ones((_RIM, _RIM), np.uint8), borderValue=0)
        found = inside * (_frangi(green) if self.baseline_name == "frangi" else _black_hat(green))
        return torch.from_numpy(found / max(float(np.percentile(found, 99)), 1e-9)).clamp(0, 1)[None]

    def metrics(self, result: Tensor, truth: Tensor, within: Tensor | None = None) -> dict[str, float]:
        """Return the maximal F-score along the precision-recall curve of a result, a mask or probabilities, and its
        intersection over union above 1/2, inside the field of view; no F-score where there are no vessels to find."""
        found, mask = result[0, 0], truth[0, 0] > 0.5
        inside = torch.ones_like(mask) if within is None else within
        if not inside.any():
            return {}
        f_score = {"max_f": precision_recall_curve(found, mask, inside).best[0]} if (mask & inside).any() else {}
        return super().metrics(result, truth, inside) | f_score


def _frangi(green: Pixels) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    from skimage.filters import frangi

    return np.asarray(frangi(green / 255, sigmas=_SCALES, black_ridges=True), np.float32)  # type: ignore[no-untyped-call]


def _black_hat(green: Pixels) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_RIM, _RIM))
    return np.asarray(cv2.morphologyEx(green, cv2.MORPH_BLACKHAT, kernel), np.float32)
