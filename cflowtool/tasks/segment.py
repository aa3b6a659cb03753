"""Segmentation: x is a photograph, y the mask of what is looked for in it."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from ..metrics.segmentation import iou
from .base import Task
from .eight_bit import as_pixels


class Segment(Task):
    """y in {0, 1} is a mask, in 1 channel or repeated in 3 as c-Glow has it (section 5.2), of a photograph x.

    An assembled image is the mask (B, 1, H, W) of 0 and 1; the mean of several is a map of probabilities. With ``side``
    photographs are resized to side x side pixels and trained on whole, as in that paper (32, 64 or 128).
    """

    name = "segment"
    baseline_name = "otsu"
    levels = 2
    masks: tuple[tuple[str, ...], ...] = (("masks", "mask", "figure_ground"),)
    near_baseline = False

    def __init__(self, channels: int = 1, side: int | None = None) -> None:
        if channels not in (1, 3):
            raise ValueError(f"channels is 1 or 3, not {channels!r}")
        if side is not None and (type(side) is not int or side < 1):
            raise ValueError(f"side is a number of pixels, not {side!r}")
        self.y_channels, self.side = channels, side

    def prepare(self, photo: Tensor) -> Tensor:
        """Return uint8 (4, H, W), resized where the task has a side."""
        return photo if self.side is None else resized(photo, self.side, self.side)

    def measurable(self, height: int, width: int) -> bool:
        """Return True: masks are compared pixel by pixel."""
        return True

    def pair(self, truth: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return x, the photograph (B, 3, H, W), and y, its mask (B, 1 or 3, H, W)."""
        return truth[:, :3], truth[:, 3:4].expand(-1, self.y_channels, -1, -1)

    def condition(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the image itself: it is what we were given."""
        return image

    def assemble(self, x: Tensor, y: Tensor) -> Tensor:
        """Return 1 where the mean of y over its channels is above 1/2, else 0, (B, 1, H, W)."""
        return (y.mean(1, keepdim=True) > 0.5).to(y)

    def baseline(self, x: Tensor) -> Tensor:
        """Return the side of Otsu's threshold on grey that is rarer on the image's border, (B, 1, H, W)."""
        return torch.stack([_otsu(image[None]) for image in x]).to(x)

    def metrics(self, result: Tensor, truth: Tensor, within: Tensor | None = None) -> dict[str, float]:
        """Return the intersection over union of where the result, a mask or probabilities, is above 1/2."""
        return {"iou": float(iou(result[:, 0] > 0.5, truth[0, 0] > 0.5, within)[0])}

    def degraded_error(self, x: Tensor, result: Tensor) -> Tensor:
        """Return 0, (B, 3, H, W): a photograph does not follow from its mask, so that none contradicts it."""
        return torch.zeros_like(x).expand(len(result), -1, -1, -1)


def resized(photo: Tensor, height: int, width: int) -> Tensor:
    """Return uint8 (C, height, width) of a photograph and its masks, averaged over areas where it shrinks in both
    directions, else bilinear; masks, 0 and 255, stay binary."""
    kind = cv2.INTER_AREA if height <= photo.shape[1] and width <= photo.shape[2] else cv2.INTER_LINEAR
    planes = [cv2.resize(plane.numpy(), (width, height), interpolation=kind) for plane in photo]
    masks = [np.where(plane > 127, np.uint8(255), np.uint8(0)) for plane in planes[3:]]
    return torch.from_numpy(np.stack(planes[:3] + masks))


def _otsu(image: Tensor) -> Tensor:
    grey = cv2.cvtColor(as_pixels(image), cv2.COLOR_RGB2GRAY)
    found = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[1]
    border = np.concatenate([found[0], found[-1], found[:, 0], found[:, -1]])
    return torch.from_numpy(1 - found if border.mean() > 0.5 else found)[None]
