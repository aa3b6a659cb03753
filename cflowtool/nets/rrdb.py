"""Trunks: networks that turn an image into features of the same height and width."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .convolution import Conv2d
from .recompute import Thrifty

_SLOPE = 0.2
_RESIDUAL_SCALE = 0.2


class DenseBlock(nn.Module):
    """Five 3x3 convolutions, each seeing all features before it; the result is added scaled by 0.2."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(Conv2d(channels + i * growth, growth, 3, padding=1) for i in range(4))
        self.last = Conv2d(channels + 4 * growth, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels, H, W)."""
        features = x
        for conv in self.convs:
            features = torch.cat((features, F.leaky_relu(conv(features), _SLOPE)), 1)
        change: Tensor = self.last(features)
        return x + _RESIDUAL_SCALE * change


class RRDB(nn.Module):
    """Residual in residual: three dense blocks inside one more scaled residual connection (CNF section 5.1)."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(DenseBlock(channels, growth) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels, H, W)."""
        change: Tensor = self.blocks(x)
        return x + _RESIDUAL_SCALE * change


class ResidualBlock(nn.Module):
    """conv 3x3 -> ReLU -> conv 3x3, added to its input: the cheapest block a CPU trains well."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Conv2d(channels, channels, 3, padding=1)
        self.last = Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels, H, W)."""
        change: Tensor = self.last(F.relu(self.first(x), inplace=True))
        return x + change


class Trunk(Thrifty):
    """First convolution, ``blocks`` blocks and a long skip: (B, in_channels, h, w) -> (B, channels, h, w).

    ``growth`` > 0 makes the blocks RRDBs of that growth, 0 plain residual blocks.
    """

    def __init__(self, in_channels: int, channels: int, blocks: int, growth: int = 0) -> None:
        super().__init__()
        self.first = Conv2d(in_channels, channels, 3, padding=1)
        self.blocks = nn.Sequential(
            *(RRDB(channels, growth) if growth else ResidualBlock(channels) for _ in range(blocks))
        )
        self.last = Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of x."""
        features: Tensor = self.first(x)
        inner = features
        for block in self.blocks:
            inner = self.part(block, inner)
        change: Tensor = self.last(inner)
        return features + change
