"""Inpainting: x is the image with a hole, y the whole image."""

from __future__ import annotations

from random import Random

import cv2
import torch
from torch import Tensor

from ..errors import UsageError
from .base import Task
from .chance import generators
from .eight_bit import Pixels, each, fidelity, psnr
from .holes import HOLES

_GREY = 0.5
_RADIUS = 3


class Inpaint(Task):
    """x (B, 4, H, W) is the image, 1/2 inside the hole, and the mask of the hole, 1 where it is to be filled; y is all
    of the image (CAFLOW section 5.3, c-Glow section 5.6).

    ``mask`` names the holes to train on: "centre", "strokes" or "mixed". Known pixels are x's own, bit for bit.
    """

    name = "inpaint"
    baseline_name = "telea"
    x_channels = 4
    near_baseline = False

    def __init__(self, mask: str = "mixed") -> None:
        if mask not in HOLES:
            raise ValueError(f"mask is one of {', '.join(HOLES)}, not {mask!r}")
        self.mask = mask

    def pair(self, truth: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return x, each image of the truth with a hole of its own, and y, the truth."""
        sources = [Random(own.initial_seed()) for own in generators(truth, generator)]
        holes = [HOLES[self.mask](truth.shape[-2], truth.shape[-1], source) for source in sources]
        return with_hole(truth, torch.stack([torch.from_numpy(hole) for hole in holes])[:, None]), truth

    def condition(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return x of an image (1, 3, H, W) and a mask (1, 1, H, W) >= 1/2 where it is to be filled.

        Raises UsageError without a mask or with one of another size.
        """
        if mask is None:
            raise UsageError("inpainting needs a mask", "give one, white where the image is to be filled")
        if mask.shape[-2:] != image.shape[-2:]:
            what = f"the mask is {mask.shape[-1]} x {mask.shape[-2]} pixels, not {image.shape[-1]} x {image.shape[-2]}"
            raise UsageError(what, "give a mask of the image's size")
        return with_hole(image, mask[:, :1] >= 0.5)

    def assemble(self, x: Tensor, y: Tensor) -> Tensor:
        """Return y inside the hole and x outside."""
        return torch.where(x[:, 3:] > 0.5, y, x[:, :3])

    def within(self, x: Tensor, truth: Tensor) -> Tensor:
        """Return the hole."""
        return x[0, 3] > 0.5

    def baseline(self, x: Tensor) -> Tensor:
        """Return OpenCV's inpainting after Telea (2004)."""
        holes = (x[:, 3] > 0.5).to(torch.uint8).cpu().numpy()

        def filled(index: int, pixels: Pixels) -> Pixels:
            return cv2.inpaint(pixels, holes[index], _RADIUS, cv2.INPAINT_TELEA)  # type: ignore[return-value]

        return self.assemble(x, each(x[:, :3], filled))

    def metrics(self, result: Tensor, truth: Tensor, within: Tensor | None = None) -> dict[str, float]:
        """Return PSNR over RGB (at most 100 dB) and SSIM on Y of the 8-bit images, and PSNR inside the hole."""
        hole = {} if within is None or not within.any() else {"psnr_hole": psnr(result, truth, within)}
        return fidelity(result, truth) | hole

    def degraded_error(self, x: Tensor, result: Tensor) -> Tensor:
        """Return each result minus x where x is known, 0 inside the hole, (B, 3, H, W)."""
        return (result - x[:, :3]) * (x[:, 3:] <= 0.5)


def with_hole(image: Tensor, hole: Tensor) -> Tensor:
    """Return (B, 4, H, W): the image, 1/2 inside the hole (B, 1, H, W), and the hole as 0 and 1."""
    hole = hole.to(image.device).bool()
    return torch.cat((image.masked_fill(hole, _GREY), hole.to(image)), 1)
