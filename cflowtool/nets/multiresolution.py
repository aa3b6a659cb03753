"""From x to features at half, quarter ... resolution, and to a first guess of y with its local scale."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .convolution import Conv2d
from .encoder import Shift, guess_from
from .pyramid import ImageHead
from .vgg import Features, UNet


class MultiResolutionEncoder(nn.Module):
    """x (B, C_x, H, W) -> features (B, channels, H / 2^l, W / 2^l), l = 1 .. levels, shift and raw log-scale.

    A U-Net of ``channels`` at full resolution; what it finds at coarser ones is brought to as many. Shift and scale,
    (B, C_y, H, W), are the Encoder's, of the finest features. ``reach`` and ``multiple_of`` are the U-Net's.
    """

    def __init__(self, in_channels: int, out_channels: int, channels: int, levels: int, shift: Shift) -> None:
        super().__init__()
        self.out_channels, self.shift = out_channels, shift
        self.unet = UNet(in_channels, channels, levels, "none")
        self.multiple_of, self.reach = self.unet.multiple_of, self.unet.reach + 1
        self.narrow = nn.ModuleList(Conv2d(width, channels, 1) for width in self.unet.out_channels[1:])
        self.head = ImageHead(channels, 2 * out_channels, 1)

    def forward(self, x: Tensor) -> tuple[Features, Tensor, Tensor]:
        """Return features, shift, raw log-scale; the last two in fp32 whatever the network runs in."""
        finest, *coarser = self.unet(x)
        with torch.autocast(x.device.type, enabled=False):
            guess, raw = self.head(finest.to(x.dtype)).chunk(2, 1)
        base = guess_from(x, self.out_channels, 1, self.shift)
        features = tuple(narrow(feature) for narrow, feature in zip(self.narrow, coarser, strict=True))
        return features, base + guess if self.shift == "mean" else base, raw
