"""Features at several resolutions from features at one."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from .convolution import Conv2d


def resolution_change(channels: int, factor_log2: int) -> nn.Module:
    """Return a network that changes (h, w) by 2^factor_log2: sub-pixel convolutions up, strided ones down."""
    layers: list[nn.Module] = []
    for _ in range(abs(factor_log2)):
        if factor_log2 > 0:
            layers += [Conv2d(channels, 4 * channels, 3, padding=1), nn.PixelShuffle(2), nn.ReLU(inplace=True)]
        else:
            layers += [Conv2d(channels, channels, 3, stride=2, padding=1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class ImageHead(nn.Module):
    """conv 3x3 to out_channels at ``scale`` times the resolution, by sub-pixel rearrangement; zero at the start."""

    def __init__(self, channels: int, out_channels: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.conv = Conv2d(channels, out_channels * scale**2, 3, padding=1)
        nn.init.zeros_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, out_channels, scale h, scale w) of (B, channels, h, w)."""
        return F.pixel_shuffle(self.conv(features), self.scale)
