"""c-Glow's conditioning networks: everything that its flow is told about x, in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .convolution import Conv2d
from .recompute import Thrifty

HALVINGS = 3


def downscale(in_channels: int, out_channels: int, stride: int) -> Conv2d:
    """Return the paper's downscaling convolution, kernel = 2 padding + stride with padding 1 (c-Glow section 5.1)."""
    return Conv2d(in_channels, out_channels, stride + 2, stride, padding=1)


class ParameterNet(nn.Module):
    """x (B, C, H, W) -> ``outputs`` numbers for the whole image: three downscaling convolutions and three layers.

    Each convolution halves the size; the fully connected layers are convolutions that cover all that is left, so that
    x has one ``size``. None pools instead, and takes any size: an option of ours. The last layer is zero at the
    start and no other is: a network that is zero in each of its layers never learns (c-Glow section 5.1, figure 5).
    """

    def __init__(self, in_channels: int, channels: int, width: int, outputs: int, size: tuple[int, int] | None) -> None:
        super().__init__()
        convolutions = [downscale(in_channels if i == 0 else channels, channels, 2) for i in range(HALVINGS)]
        left = (1, 1) if size is None else (size[0] >> HALVINGS, size[1] >> HALVINGS)
        self.convolutions = nn.Sequential(*(layer for conv in convolutions for layer in (conv, nn.ReLU(inplace=True))))
        self.pool = nn.AdaptiveAvgPool2d(1) if size is None else nn.Identity()
        self.first, self.middle = Conv2d(channels, width, left), Conv2d(width, width, 1)
        self.last = Conv2d(width, outputs, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, outputs, 1, 1) in x's own precision."""
        features = self.first(self.pool(self.convolutions(x)), "relu")
        out: Tensor = self.last(self.middle(features, "relu"))
        return out.to(x.dtype)


class FeatureNet(nn.Module):
    """x (B, C, H, W) -> the part of a coupling net's first convolution that depends on x alone, conv_h(x_r).

    x_r is made by three convolutions, 3x3, downscaling by ``stride``, 3x3, of ``channels`` each (c-Glow section 5.1).
    """

    def __init__(self, in_channels: int, channels: int, stride: int, width: int) -> None:
        super().__init__()
        self.first = Conv2d(in_channels, channels, 3, padding=1)
        self.middle = downscale(channels, channels, stride)
        self.last = Conv2d(channels, channels, 3, padding=1)
        self.hidden = Conv2d(channels, width, 3, padding=1)

    def features(self, x: Tensor) -> Tensor:
        """Return x_r, (B, channels, H / stride, W / stride)."""
        found: Tensor = self.last(self.middle(self.first(x, "relu"), "relu"))
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, width, H / stride, W / stride)."""
        hidden: Tensor = self.hidden(self.features(x))
        return hidden


@dataclass(frozen=True)
class LevelNeeds:
    """What one level is told: groups of numbers for the whole image, and groups of maps at 1 / stride of its size."""

    vectors: Sequence[int]
    maps: Sequence[int]
    stride: int


class Conditioner(Thrifty):
    """All conditioning networks of all levels, one a group: x (B, C, H, W) -> vectors and maps, level after level."""

    def __init__(
        self,
        in_channels: int,
        needs: Sequence[LevelNeeds],
        channels: int,
        width: int,
        feature_channels: int,
        size: tuple[int, int] | None,
    ) -> None:
        super().__init__()
        self.vectors = nn.ModuleList(
            nn.ModuleList(ParameterNet(in_channels, channels, width, n, size) for n in level.vectors) for level in needs
        )
        self.maps = nn.ModuleList(
            nn.ModuleList(FeatureNet(in_channels, feature_channels, level.stride, n) for n in level.maps)
            for level in needs
        )

    def heads(self) -> list[tuple[nn.Module, ...]]:
        """Return, of every level, the networks that make the maps of x_r."""
        return [tuple(net.hidden for net in maps) for maps in self.maps]  # type: ignore[attr-defined]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return, of every level, (B, sum(vectors), 1, 1) and each group of maps, (B, n, H / stride, W / stride).

        Training that recomputes gets x_r in the maps' place, which are many times as large: ``heads`` make them of it.
        """
        found: list[Tensor] = []
        for vectors, maps in zip(self.vectors, self.maps, strict=True):
            found.append(torch.cat([self.part(net, x) for net in vectors], 1))  # type: ignore[attr-defined]
            found += [self.part(net.features if self.thrifty else net, x) for net in maps]  # type: ignore[attr-defined]
        return tuple(found)
