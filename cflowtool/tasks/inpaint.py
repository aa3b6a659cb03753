"""Inpainting: x is the image with a hole, y the whole image."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from random import Random

import cv2
import torch
from torch import Tensor

from ..errors import InputError, UsageError, escape
from .base import Task
from .chance import generators
from .eight_bit import Pixels, each, fidelity, psnr
from .fill import fill_in
from .holes import HOLES

_GREY = 0.5
_RADIUS = 3


class Inpaint(Task):
    """x (B, 4, H, W) is the image, a guess inside the hole, and the mask of the hole, 1 where it is to be filled; y is
    all of the image (CAFLOW section 5.3, c-Glow section 5.6).

    ``mask`` names the holes to train on: "centre", "strokes", "mixed" or "any". ``fill`` names the guess: "grey", 1/2
    as in the papers, or "pyramid", a smooth continuation of the known pixels of the whole image. Known pixels are x's
    own, bit for bit.
    """

    name = "inpaint"
    baseline_name = "telea"
    x_channels = 4
    near_baseline = False

    def __init__(self, mask: str = "mixed", fill: str = "grey") -> None:
        if mask not in HOLES:
            raise ValueError(f"mask is one of {', '.join(HOLES)}, not {mask!r}")
        if fill not in FILLS:
            raise ValueError(f"fill is one of {', '.join(FILLS)}, not {fill!r}")
        self.mask, self.fill = mask, fill

    def pair(self, truth: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return x, each image of the truth with a hole of its own, and y, the truth."""
        sources = [Random(own.initial_seed()) for own in generators(truth, generator)]
        holes = [HOLES[self.mask](truth.shape[-2], truth.shape[-1], source) for source in sources]
        return self._with_hole(truth, torch.stack([torch.from_numpy(hole) for hole in holes])[:, None]), truth

    def _with_hole(self, image: Tensor, hole: Tensor) -> Tensor:
        """Return (B, 4, H, W): the image, a guess inside the hole (B, 1, H, W), and the hole as 0 and 1."""
        hole = hole.to(image.device).bool()
        x = image.new_empty(image.shape[0], 4, *image.shape[-2:])
        x[:, :3], x[:, 3:] = image, hole
        FILLS[self.fill](x[:, :3], hole)
        return x

    def condition(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return x of an image (1, 3, H, W) and a mask (1, 1, H, W) >= 1/2 where it is to be filled.

        Raises UsageError without a mask, InputError for one of another size, an empty one, or one over everything.
        """
        if mask is None:
            raise UsageError("inpainting needs a mask", "give one, white where the image is to be filled")
        if mask.shape[-2:] != image.shape[-2:]:
            what = f"the mask is {mask.shape[-1]} x {mask.shape[-2]} pixels, not {image.shape[-1]} x {image.shape[-2]}"
            raise InputError(what, "give a mask of the image's size", "mask")
        hole = mask[:, :1] >= 0.5
        if not hole.any():
            raise InputError(
                "the mask is empty: nothing is to be filled", "make it white where the image is damaged", "mask"
            )
        if hole.all():
            what = "the mask covers everything: nothing is known"
            raise InputError(what, "make it black where the image is to be kept, or invert it", "mask")
        return self._with_hole(image, hole)

    def adapt(self, holes: object = None, **settings: object) -> None:
        """Take the kind of ``holes`` that ``pair`` makes; other errors and settings as of the base."""
        if holes is not None and holes not in HOLES:
            raise UsageError(f"no holes are named {escape(holes)}", f"one of: {', '.join(HOLES)}")
        self.mask = str(holes or self.mask)
        super().adapt(**settings)

    def assemble(self, x: Tensor, y: Tensor) -> Tensor:
        """Return y inside the hole and x outside."""
        return torch.where(x[:, 3:] > 0.5, y, x[:, :3])

    def target(self, image: Tensor, x: Tensor, result: Tensor) -> Tensor:
        """Return the result with x's own pixels where they are known: it is judged by what it fills in alone."""
        return self.assemble(x, result)

    def known(self, x: Tensor) -> Tensor:
        """Return the pixels outside the hole."""
        return x[0, 3] <= 0.5

    def within(self, x: Tensor, truth: Tensor) -> Tensor:
        """Return the hole."""
        return x[0, 3] > 0.5

    def baseline(self, x: Tensor) -> Tensor:
        """Return OpenCV's inpainting after Telea (2004)."""
        return self._by_opencv(x, cv2.INPAINT_TELEA)

    def baselines(self, image: Tensor, x: Tensor) -> dict[str, Tensor]:
        """Return OpenCV's Telea and Navier-Stokes inpainting and, where scikit-image is installed, the biharmonic."""
        found = {"telea": self.baseline(x), "navier-stokes": self._by_opencv(x, cv2.INPAINT_NS)}
        return found if find_spec("skimage") is None else found | {"biharmonic": self.assemble(x, biharmonic(x))}

    def _by_opencv(self, x: Tensor, method: int) -> Tensor:
        holes = (x[:, 3] > 0.5).to(torch.uint8).cpu().numpy()

        def filled(index: int, pixels: Pixels) -> Pixels:
            return cv2.inpaint(pixels, holes[index], _RADIUS, method)  # type: ignore[return-value]

        return self.assemble(x, each(x[:, :3], filled))

    def metrics(self, result: Tensor, truth: Tensor, within: Tensor | None = None) -> dict[str, float]:
        """Return PSNR over RGB (at most 100 dB) and SSIM on Y of the 8-bit images, and PSNR inside the hole."""
        hole = {} if within is None or not within.any() else {"psnr_hole": psnr(result, truth, within)}
        return fidelity(result, truth) | hole

    def degraded_error(self, x: Tensor, result: Tensor) -> Tensor:
        """Return each result minus x where x is known, 0 inside the hole, (B, 3, H, W)."""
        return (result - x[:, :3]) * (x[:, 3:] <= 0.5)


def grey(image: Tensor, hole: Tensor) -> None:
    """Make the image (B, 3, H, W) 1/2 inside the hole (B, 1, H, W)."""
    image.masked_fill_(hole, _GREY)


FILLS: dict[str, Callable[[Tensor, Tensor], None]] = {"grey": grey, "pyramid": fill_in}


def biharmonic(x: Tensor) -> Tensor:
    """Return scikit-image's biharmonic inpainting (B, 3, H, W) of x (B, 4, H, W).

    Raises ImportError where scikit-image is not installed.
    """
    from skimage.restoration import inpaint_biharmonic

    def filled(image: Tensor) -> Tensor:
        colours, hole = image[:3].permute(1, 2, 0).cpu().double().numpy(), (image[3] > 0.5).cpu().numpy()
        found = inpaint_biharmonic(colours, hole, channel_axis=-1)
        return torch.from_numpy(found).permute(2, 0, 1)

    return torch.stack([filled(image) for image in x]).clamp(0, 1).to(x)
