"""Encoders for thin structures: features at full, half, quarter ... resolution, finest first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .convolution import Conv2d
from .pyramid import ImageHead
from .recompute import Thrifty

Norm = Literal["instance", "group", "none"]
Features = tuple[Tensor, ...]

_GROUPS = 8


class Normalize(nn.Module):
    """(values - mean) / std over the whole image, of each channel ("instance") or of groups of them; "none" is none.

    Without learned scale and offset (Ulyanov et al., 2016). An image of one position becomes zero.
    """

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.groups = {"instance": channels, "group": math.gcd(channels, _GROUPS), "none": 0}[norm]

    def forward(self, values: Tensor) -> Tensor:
        """Return (B, C, H, W)."""
        return torch.group_norm(values, self.groups) if self.groups else values


def block(in_channels: int, channels: int, norm: Norm) -> nn.Sequential:
    """Return normalization -> ReLU -> conv 3x3 (CNF section 5.2)."""
    return nn.Sequential(Normalize(in_channels, norm), nn.ReLU(), Conv2d(in_channels, channels, 3, padding=1))


class VGG(nn.Module):
    """The paper's encoder: one block, then max-pooling and two blocks a level (CNF figure 5, layers 1 to 7).

    x (B, in_channels, H, W) -> (B, out_channels[l], H / 2^l, W / 2^l) for l = 0 .. levels: layers 1, 4 and 7. The
    widths, which the paper leaves open, double from level to level as VGG's do. ``reach`` is how many pixels away x
    can matter, as long as nothing is normalized. H and W are multiples of ``multiple_of``.
    """

    def __init__(self, in_channels: int, channels: int, levels: int, norm: Norm) -> None:
        super().__init__()
        self.out_channels = [channels << level for level in range(levels + 1)]
        self.multiple_of = 2**levels
        self.reach = 1 + sum(2 ** (level - 1) + 2 * 2**level for level in range(1, levels + 1))
        self.first = block(in_channels, channels, norm)
        self.deeper = nn.ModuleList(
            nn.Sequential(block(width // 2, width, norm), block(width, width, norm)) for width in self.out_channels[1:]
        )

    def forward(self, x: Tensor) -> Features:
        """Return the features of every resolution, finest first."""
        features = [self.first(x)]
        for blocks in self.deeper:
            features.append(blocks(F.max_pool2d(features[-1], 2)))
        return tuple(features)


class Residual(nn.Module):
    """Two blocks added to their input, zero at the start."""

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*block(channels, channels, norm), *block(channels, channels, norm))
        last = self.blocks[-1]
        nn.init.zeros_(last.weight)  # type: ignore[arg-type]
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, H, W)."""
        change: Tensor = self.blocks(x)
        return x + change


def residuals(channels: int, norm: Norm, blocks: int) -> nn.Module:
    """Return residual blocks one after another, a single one being itself."""
    return (
        Residual(channels, norm) if blocks == 1 else nn.Sequential(*(Residual(channels, norm) for _ in range(blocks)))
    )


class UNet(Thrifty):
    """A small encoder-decoder: down by max-pooling to 1 / 2^depth, up again with what was there added.

    The same shapes, ``reach`` and ``multiple_of`` as VGG, ``depth`` being levels + 1 unless it is more; every
    resolution has seen the coarser ones, so that a thin vessel is found by its course. Widths double twice and then
    stay; ``blocks`` residual blocks a resolution and direction.
    """

    def __init__(
        self, in_channels: int, channels: int, levels: int, norm: Norm, blocks: int = 1, depth: int = 0
    ) -> None:
        super().__init__()
        depth = max(depth, levels + 1)
        widths = [channels * min(2**level, 4) for level in range(depth + 1)]
        self.out_channels = widths[: levels + 1]
        self.multiple_of = 2**depth
        self.reach = self.reach_of(depth, blocks)
        self.first = Conv2d(in_channels, channels, 3, padding=1)
        self.down = nn.ModuleList(residuals(width, norm, blocks) for width in widths)
        self.widen = nn.ModuleList(Conv2d(a, b, 1) for a, b in pairwise(widths))
        self.narrow = nn.ModuleList(Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.up = nn.ModuleList(residuals(width, norm, blocks) for width in widths[:-1])

    @staticmethod
    def reach_of(depth: int, blocks: int) -> int:
        """Return the reach of one that goes ``depth`` halvings down: its convolutions, and the coarsest block."""
        return 1 + 4 * blocks * ((1 << depth) - 1) + ((2 * blocks + 1) << depth)

    def forward(self, x: Tensor) -> Features:
        """Return the features of every resolution, finest first."""
        seen = [self.part(self.down[0], self.first(x - 0.5))]
        for widen, down in zip(self.widen, self.down[1:], strict=True):
            seen.append(self.part(down, widen(F.max_pool2d(seen[-1], 2))))
        features = [seen.pop()]
        for narrow, up in zip(reversed(self.narrow), reversed(self.up), strict=True):
            coarse = F.interpolate(narrow(features[0]), scale_factor=2.0)
            features.insert(0, self.part(up, seen.pop() + coarse))
        return tuple(features[: len(self.out_channels)])


class SideOutputs(nn.Module):
    """The sum of one convolution of every resolution's features, brought to the finest; zero at the start."""

    def __init__(self, channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(ImageHead(width, out_channels, 2**level) for level, width in enumerate(channels))

    def forward(self, features: Features) -> Tensor:
        """Return (B, out_channels, H, W)."""
        sides = [head(feature) for head, feature in zip(self.heads, features, strict=True)]
        return torch.stack(sides).sum(0)
