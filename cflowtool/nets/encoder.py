"""From x to features, and to a first guess of y with its local scale."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ..images import bicubic_resize
from .pyramid import ImageHead
from .rrdb import Trunk

Shift = Literal["none", "bicubic", "mean"]


class Encoder(nn.Module):
    """x (B, C_x, h, w) -> features (B, channels, h, w), shift and raw log-scale (B, C_y, scale h, scale w).

    The shift is where y is expected: 1/2 ("none"), the bicubic upsampling of x ("bicubic"), or that plus what the
    trunk predicts ("mean"). The raw log-scale is what the trunk says of the spread around it.
    """

    def __init__(
        self, scale: int, out_channels: int, channels: int, blocks: int, growth: int = 0, shift: Shift = "mean"
    ) -> None:
        super().__init__()
        self.scale, self.shift = scale, shift
        self.trunk = Trunk(3, channels, blocks, growth)
        self.head = ImageHead(channels, 2 * out_channels, scale)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return features, shift, raw log-scale; the last two in fp32 whatever the network runs in."""
        features = self.trunk(x - 0.5)
        with torch.autocast(x.device.type, enabled=False):
            guess, raw = self.head(features.to(x.dtype)).chunk(2, 1)
        if self.shift == "none":
            return features, torch.full_like(guess, 0.5), raw
        base = bicubic_resize(x, (x.shape[-2] * self.scale, x.shape[-1] * self.scale))
        return features, base + guess if self.shift == "mean" else base, raw
