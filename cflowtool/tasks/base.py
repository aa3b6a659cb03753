"""What a task is."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class Task(ABC):
    """Turns images into (x, y) and back; y is ``scale`` times as large as x.

    Images and tensors are (B, C, H, W) in [0, 1] at dequantization midpoints; x has ``x_channels`` channels, y
    ``y_channels`` of ``levels`` levels.
    """

    name: str
    scale: int = 1
    x_channels: int = 3
    y_channels: int = 3
    levels: int = 256
    baseline_name: str

    @abstractmethod
    def pair(self, truth: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return (x, y) for training and evaluation, such that assemble(x, y) is the truth, cut to a size that fits."""

    @abstractmethod
    def condition(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return x of a degraded image as the user has it."""

    @abstractmethod
    def assemble(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the restored image of x (1, C, h, w) and samples y (B, C, H, W)."""

    @abstractmethod
    def baseline(self, x: Tensor) -> Tensor:
        """Return what people get without us, the picture every result is measured beside."""

    @abstractmethod
    def measurable(self, height: int, width: int) -> bool:
        """Return whether an image of this size is large enough for the metrics."""

    @abstractmethod
    def metrics(self, result: Tensor, truth: Tensor) -> dict[str, float]:
        """Return the field's metrics of a result against the truth, both (1, C, H, W)."""

    @abstractmethod
    def degraded_error(self, x: Tensor, result: Tensor) -> Tensor:
        """Return each result (B, C, H, W), degraded again, minus x, at x's resolution, (B, C, h, w)."""
