"""From x to features, and to a first guess of y with its local scale."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..images import bicubic_resize
from .pyramid import ImageHead
from .rrdb import Trunk
from .vgg import UNet

Shift = Literal["none", "bicubic", "mean"]


class Encoder(nn.Module):
    """x (B, C_x, h, w) -> features (B, channels, h / u, w / u), shift and raw log-scale (B, C_y, scale h, scale w).

    The trunk works at 1 / u = 1 / ``unshuffle`` of x's resolution, each u x u block of x as channels. With ``depth``
    > 0 it is a U-Net that goes so many halvings further down, of ``blocks`` residual blocks a resolution and direction.

    The shift is where y is expected: 1/2 ("none"), the bicubic upsampling of x ("bicubic"), or that plus what the
    trunk predicts ("mean"). An x with fewer channels than y is no picture of it: 1/2 stands for its upsampling; of
    one with more, the first C_y are. The raw log-scale is what the trunk says of the spread around the shift.
    """

    def __init__(
        self,
        scale: int,
        out_channels: int,
        channels: int,
        blocks: int,
        growth: int = 0,
        shift: Shift = "mean",
        in_channels: int = 3,
        unshuffle: int = 1,
        depth: int = 0,
    ) -> None:
        super().__init__()
        self.scale, self.shift, self.unshuffle = scale, shift, unshuffle
        inputs = in_channels * unshuffle**2
        self.trunk = (
            UNet(inputs, channels, depth - 1, "none", blocks) if depth else Trunk(inputs, channels, blocks, growth)
        )
        self.head = ImageHead(channels, 2 * out_channels, scale * unshuffle)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return features, shift, raw log-scale; the last two in fp32 whatever the network runs in."""
        features = self._features(self._blocks(x))
        with torch.autocast(x.device.type, enabled=False):
            guess, raw = self.head(features.to(x.dtype)).chunk(2, 1)
        base = guess_from(x, guess.shape[1], self.scale, self.shift)
        return features, base + guess if self.shift == "mean" else base, raw

    def _features(self, x: Tensor) -> Tensor:
        found: Tensor = self.trunk(x)[0] if isinstance(self.trunk, UNet) else self.trunk(x - 0.5)
        return found

    def _blocks(self, x: Tensor) -> Tensor:
        if self.unshuffle == 1:
            return x
        return F.pixel_unshuffle(x, self.unshuffle).contiguous(memory_format=torch.channels_last)


def guess_from(x: Tensor, channels: int, scale: int, shift: Shift) -> Tensor:
    """Return (B, channels, scale h, scale w), where y is expected before anything is learned: 1/2 or x, upsampled."""
    size = x.shape[-2] * scale, x.shape[-1] * scale
    if shift == "none" or x.shape[1] < channels:
        return x.new_full((x.shape[0], channels, *size), 0.5)
    return bicubic_resize(x[:, :channels], size) if scale > 1 else x[:, :channels]
