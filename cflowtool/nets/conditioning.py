"""c-Glow's conditioning networks: everything that its flow is told about x, in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .convolution import Conv2d, Fixed, by_onednn
from .prepared import Preparable
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
        return self.connected(self.pool(self.convolutions(x))).to(x.dtype)

    def connected(self, features: Tensor) -> Tensor:
        """Return what the three layers make of (B, channels, h, w), which they cover."""
        features = self.first(features, "relu")
        return _connected(self.last, F.relu(_connected(self.middle, features), inplace=True))


def _connected(layer: Conv2d, x: Tensor) -> Tensor:
    """Return a 1x1 convolution of one position, in training by a matrix product, whose gradients cost a third."""
    if layer.training and torch.is_grad_enabled():
        return F.linear(x.flatten(1), layer.weight.flatten(1), layer.bias)[..., None, None]
    out: Tensor = layer(x)
    return out


class ParameterNets:
    """Parameter networks of the same sizes, for use by oneDNN: the convolutions of two are the groups of one.

    So they are fewer calls, which are what one image takes; with more groups several images would take longer.
    """

    def __init__(self, nets: Sequence[ParameterNet]) -> None:
        self.pairs = [nets[k : k + 2] for k in range(0, len(nets), 2)]
        self.convolutions = [
            [_beside([net.convolutions[i] for net in pair], i > 0) for i in (0, 2, 4)] for pair in self.pairs
        ]

    def __call__(self, x: Tensor) -> list[Tensor]:
        """Return of every network what it makes of x (B, C, H, W), (B, outputs, 1, 1)."""
        found = []
        for pair, convolutions in zip(self.pairs, self.convolutions, strict=True):
            part = x
            for convolution in convolutions:
                part = convolution(part, "relu")
            parts = pair[0].pool(part).chunk(len(pair), 1)
            found += [net.connected(own) for net, own in zip(pair, parts, strict=True)]
        return found


def _beside(layers: Sequence[nn.Module], grouped: bool) -> Fixed:
    """Return convolutions as one, of the same x or, as groups, of one x each."""
    fixed = [layer.fixed for layer in layers if isinstance(layer, Conv2d)]
    bias, (padding, stride, _) = torch.cat([each.bias for each in fixed if each.bias is not None]), fixed[0].how
    return Fixed(torch.cat([each.kernel for each in fixed]), bias, padding, stride, len(fixed) if grouped else 1)


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


class Conditioner(Thrifty, Preparable):
    """All conditioning networks of all levels, one a group: x (B, C, H, W) -> vectors and maps, level after level."""

    _together: list[ParameterNets]

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

    def make(self) -> None:
        """Keep each level's parameter networks as one."""
        self._together = [ParameterNets(list(level)) for level in self.vectors]  # type: ignore[call-overload]

    def heads(self) -> list[tuple[nn.Module, ...]]:
        """Return, of every level, the networks that make the maps of x_r."""
        return [tuple(net.hidden for net in maps) for maps in self.maps]  # type: ignore[attr-defined]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return, of every level, (B, sum(vectors), 1, 1) and each group of maps, (B, n, H / stride, W / stride).

        Training gets x_r in the maps' place, which are many times as large: ``heads`` make them of it.
        """
        found: list[Tensor] = []
        training, together = self.training and torch.is_grad_enabled(), self.prepared and by_onednn(x)
        for level, (vectors, maps) in enumerate(zip(self.vectors, self.maps, strict=True)):
            apart = [] if together else [self.part(net, x) for net in vectors]  # type: ignore[attr-defined]
            found.append(torch.cat(self._together[level](x) if together else apart, 1))
            found += [self.part(net, x, "features" if training else "forward") for net in maps]  # type: ignore[attr-defined]
        return tuple(found)
