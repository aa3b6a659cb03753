"""What a task is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import UsageError

_SSIM_WINDOW = 11


class Task(ABC):
    """Turns images into (x, y) and back; y is ``scale`` times as large as x.

    Images and tensors are (B, C, H, W) in [0, 1] at dequantization midpoints; x has ``x_channels`` channels, y
    ``y_channels`` of ``levels`` levels. A truth is a photograph in 3 channels and one channel of 0 and 1 for each entry
    of ``masks``, which names the folders that such a mask may lie in, beside the photographs'.

    ``held_out_share`` of the photographs are never trained on. ``near_baseline`` says that no good result is far from
    the baseline; ``whole`` that photographs count whole: validated uncut, set in black where smaller than a crop;
    ``resized`` that x of a user's image is made at a working size and results come back to the image's by ``finish``.
    Results have ``result_channels``, by default those of the user's image.
    """

    name: str
    scale: int = 1
    x_channels: int = 3
    y_channels: int = 3
    levels: int = 256
    baseline_name: str
    masks: tuple[tuple[str, ...], ...] = ()
    held_out_share: float = 0.05
    near_baseline: bool = True
    whole: bool = False
    resized: bool = False
    result_channels: int | None = None

    def prepare(self, photo: Tensor) -> Tensor:
        """Return a photograph with its masks, uint8 (C, H, W), as it is trained on: by default as it is."""
        return photo

    def distortion(self, generator: torch.Generator) -> Tensor | None:
        """Return the matrix (2, 2) that turns a crop's (column, row) into its photograph's, None for none at all."""
        return None

    def within(self, x: Tensor, truth: Tensor) -> Tensor | None:
        """Return the pixels (H, W), boolean, that the metrics of one image are about, None for all of them."""
        return None

    def adapt(self, **settings: object) -> None:
        """Set what a run knows beside the recipe, such as the noise's strength, None for nothing.

        Raises UsageError for a setting that the task has not.
        """
        for name, value in settings.items():
            if value is not None:
                raise UsageError(f"{self.name} has no setting {name}", "leave it out")

    def usable(self, photo: Tensor) -> bool:
        """Return whether a photograph, uint8 (C, H, W), teaches anything: by default all do."""
        return True

    def given(self, truth: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """Return what a user of a truth (1, C, H, W) would have: image and mask, as ``condition`` takes them; and the
        result (1, C', H, W) that is right."""
        x, y = self.pair(truth)
        mask = x[:, 3:] if x.shape[1] > 3 else None
        return x[:, :3], mask, self.assemble(x, y)

    @abstractmethod
    def pair(self, truth: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return (x, y) for training and evaluation, such that assemble(x, y) is the truth, cut to a size that fits.

        What is random is each image's own, drawn from the generator or, without one, from the image itself.
        """

    @abstractmethod
    def condition(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return x of a degraded image as the user has it."""

    @abstractmethod
    def assemble(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the restored image of x (1 or B, C, h, w) and samples y (B, C, H, W)."""

    def finish(self, image: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Return the results (B, C', H, W), of the size of a user's image (1, 3, H, W), of its x and samples y."""
        return self.assemble(x, y)

    def finisher(self, image: Tensor, x: Tensor, y: Tensor) -> Callable[[slice], Tensor]:
        """Return what gives ``finish`` of image, x and samples y some rows at a time, (B, C', n, W): a large picture's
        results are never all in memory as numbers."""
        whole = self.finish(image, x, y)
        return lambda rows: whole[..., rows, :]

    def target(self, image: Tensor, x: Tensor, result: Tensor) -> Tensor:
        """Return y (1, C, h, w) of a result (1, 3, H, W) that anyone made of the image: what ``finish`` undoes."""
        return result

    def known(self, x: Tensor) -> Tensor | None:
        """Return the pixels (H, W), boolean, of a result that are the user's own to the bit, None for no such ones."""
        return None

    @abstractmethod
    def baseline(self, x: Tensor) -> Tensor:
        """Return what people get without us, the picture every result is measured beside."""

    def baselines(self, image: Tensor, x: Tensor) -> dict[str, Tensor]:
        """Return the results (1, C', H, W) of all methods that people use without us, by name."""
        return {self.baseline_name: self.baseline(x)}

    def measurable(self, height: int, width: int) -> bool:
        """Return whether an image of this size is large enough for the metrics: the 11 x 11 window of SSIM."""
        return min(height, width) >= _SSIM_WINDOW

    @abstractmethod
    def metrics(self, result: Tensor, truth: Tensor, within: Tensor | None = None) -> dict[str, float]:
        """Return the field's metrics of a result against the truth, both as assembled, (1, C, H, W)."""

    @abstractmethod
    def degraded_error(self, x: Tensor, result: Tensor) -> Tensor:
        """Return each result (B, C, H, W), degraded again, minus x, at x's resolution, (B, C, h, w)."""
