"""Vessel segmentation: y is the mask of the vessels in a photograph of the retina, x."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.util import find_spec

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from ..metrics.segmentation import precision_recall_curve
from .eight_bit import Pixels, as_bytes, as_pixels
from .fundus import evened, field_of_view, training_scale
from .segment import Segment, resized

_RIM = 15
_NEUTRAL = 0.5
# Where the field of view is small in its photograph, enlarging ends here.
_LONGEST = 1080
_SCALES = (1.0, 2.0, 3.0, 4.0)
_SMALLEST, _LARGEST, _SHEAR_DEGREES, _STEEPEST = 0.8, 1.2, 10.0, 45.0


class SegmentVessels(Segment):
    """A truth is photograph, vessels and field of view; y is the mask of the vessels (CNF section 5.2).

    Photographs are trained on at one scale, that of DRIVE. With ``augment``, crops are turned by any angle, scaled by
    0.8 to 1.2 and sheared by N(0, 10 degrees), as in the paper. What is outside the field of view is not measured.
    With ``even`` the background of a photograph is evened out and x has the field of view as a fourth channel.
    A user's photograph is brought to that scale, too, and the masks back to its size.
    """

    name = "segment-vessels"
    masks = (("manual1", "1st_manual", "manual"), ("fov", "mask"))
    held_out_share = 0.15
    whole = True
    resized = True
    result_channels = 1

    def __init__(self, augment: bool = False, even: bool = False) -> None:
        super().__init__(1)
        for name, value in (("augment", augment), ("even", even)):
            if not isinstance(value, bool):
                raise ValueError(f"{name} is true or false, not {value!r}")
        self.augment, self.even = augment, even
        self.x_channels = 4 if even else 3
        self.baseline_name = "frangi" if find_spec("skimage") else "black-hat"

    def prepare(self, photo: Tensor) -> Tensor:
        """Return uint8 (5, H, W) at the training scale; masks, 0 and 255, stay binary."""
        longest = max(photo.shape[1:])
        factor = min(training_scale(photo[4] > 127), max(1.0, _LONGEST / longest))
        if factor != 1:
            photo = resized(photo, *(max(1, round(side * factor)) for side in photo.shape[1:]))
        return torch.cat((evened(photo[:3], photo[4] > 127), photo[3:])) if self.even else photo

    def given(self, truth: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """Return photograph, field of view and vessels of a truth (1, 5, H, W) that was not prepared."""
        return truth[:, :3], truth[:, 4:5], truth[:, 3:4]

    def condition(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return x of a photograph at the training scale, its field of view as in the mask (1, 1, H, W) or else found;
        where none is found, it is the whole.

        Raises InputError for a mask of another size and for an empty one.
        """
        fov = _whole_if_empty(field_of_view(image)) if mask is None else _checked(mask, image)
        masks = torch.stack((torch.zeros_like(fov), 255 * fov)).to(torch.uint8)
        ready = self.prepare(torch.cat((as_bytes(image).cpu(), masks)))
        truth = torch.cat(((ready[:3].float() + 0.5) / 256, (ready[3:] > 127).float()))
        return self.pair(truth[None])[0].to(image)

    def pair(self, truth: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return x, the photograph as prepared (B, 3 or 4, H, W), and y, the vessels (B, 1, H, W)."""
        return self._with_field(truth[:, :3], truth[:, 4:5]), truth[:, 3:4]

    def _with_field(self, image: Tensor, fov: Tensor) -> Tensor:
        if not self.even:
            return image
        return torch.cat((torch.where(fov > 0.5, image, _NEUTRAL), fov.to(image)), 1)

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

    def finish(self, image: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Return the masks (B, 1, H, W) of samples y: averaged over areas or between pixels, and cut at 1/2.

        With ``even`` nothing is found outside the field of view.
        """
        return self._found(image, x, y).to(y)

    def _found(self, image: Tensor, x: Tensor, y: Tensor) -> Tensor:
        found = self.assemble(x, y)
        inside = found * x[:, 3:] if self.even else found
        return _at_size_of(image, inside) > 0.5

    def finisher(self, image: Tensor, x: Tensor, y: Tensor) -> Callable[[slice], Tensor]:
        """Return what gives some rows of ``finish``, of masks kept as one bit a pixel."""
        packed = np.packbits(self._found(image, x, y).cpu().numpy(), axis=-1)
        width = image.shape[-1]
        return lambda rows: torch.from_numpy(np.unpackbits(packed[..., rows, :], axis=-1, count=width)).to(y)

    def target(self, image: Tensor, x: Tensor, result: Tensor) -> Tensor:
        """Return the mask (1, 1, h, w) at x's size of a picture that is light where vessels are, (1, 1 or 3, H, W)."""
        mask = torch.where(result[0].mean(0, keepdim=True) > 0.5, 255, 0).to(torch.uint8).cpu()
        found = resized(mask.expand(4, -1, -1), x.shape[-2], x.shape[-1])[3:]
        return (found[None] > 127).to(x)

    def within(self, x: Tensor, truth: Tensor) -> Tensor:
        """Return the field of view."""
        return truth[0, 4] > 0.5

    def baseline(self, x: Tensor) -> Tensor:
        """Return what a vessel filter makes of the green channel, in [0, 1], (B, 1, H, W).

        The filter is scikit-image's Frangi where it is installed, else the black top-hat; the rim of the field of view
        does not count.
        """
        return torch.stack([self._filtered(as_pixels(image[None, :3]), image[None]) for image in x]).to(x)

    def baselines(self, image: Tensor, x: Tensor) -> dict[str, Tensor]:
        """Return the filter's map of the photograph at the training scale, not evened, at the photograph's size."""
        small = resized(as_bytes(image).cpu(), x.shape[-2], x.shape[-1]).permute(1, 2, 0).contiguous().numpy()
        found = self._filtered(small, x)[None].to(image)
        return {self.baseline_name: _at_size_of(image, found).clamp(0, 1)}

    def _filtered(self, pixels: Pixels, x: Tensor) -> Tensor:
        fov = x[0, 3].cpu() if self.even else field_of_view(x)
        inside = cv2.erode(fov.numpy(), np.ones((_RIM, _RIM), np.uint8), borderValue=0)
        found = inside * (_frangi if self.baseline_name == "frangi" else _black_hat)(pixels[..., 1])
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


def _checked(mask: Tensor, image: Tensor) -> Tensor:
    if mask.shape[-2:] != image.shape[-2:]:
        sizes = [f"{tensor.shape[-1]} x {tensor.shape[-2]}" for tensor in (mask, image)]
        what = f"the field of view is {sizes[0]} pixels, not {sizes[1]}"
        raise InputError(what, "give one of the photograph's size, or --fov auto", "mask")
    fov = (mask[0, 0] > 0.5).float().cpu()
    if not fov.any():
        raise InputError("the field of view is empty", "make it white where the retina is, or use --fov auto", "mask")
    return fov


def _whole_if_empty(fov: Tensor) -> Tensor:
    return fov if fov.any() else torch.ones_like(fov)


def _at_size_of(image: Tensor, mask: Tensor) -> Tensor:
    """Return a mask or map (B, 1, h, w) at the size of an image."""
    size = (image.shape[-2], image.shape[-1])
    if mask.shape[-2:] == size:
        return mask
    return F.interpolate(mask, size, mode="bilinear", antialias=True, align_corners=False)


def _frangi(green: Pixels) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    from skimage.filters import frangi

    return np.asarray(frangi(green / 255, sigmas=_SCALES, black_ridges=True), np.float32)  # type: ignore[no-untyped-call]


def _black_hat(green: Pixels) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_RIM, _RIM))
    return np.asarray(cv2.morphologyEx(green, cv2.MORPH_BLACKHAT, kernel), np.float32)
