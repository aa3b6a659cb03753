"""The storeys of a tower of networks, each at twice the resolution of the one below it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import is_parametrized

from ..images import bicubic_resize
from .convolution import Conv2d
from .encoder import guess_from
from .mapping import MappingNet
from .rrdb import RRDB

_SLOPE = 0.2
State = tuple[Tensor, Tensor]


def weight_normalise(net: nn.Module) -> None:
    """Write every kernel of a network's convolutions as w = g v / |v|, one g a filter (Salimans and Kingma 2016)."""
    for conv in [module for module in net.modules() if isinstance(module, nn.Conv2d)]:
        weight_norm(conv)


def answer_zero(conv: nn.Conv2d) -> None:
    """Let a convolution, weight-normalised or not, start at zero; of g v / |v| that is g = 0."""
    scale = conv.parametrizations.weight.original0 if is_parametrized(conv) else conv.weight  # type: ignore[union-attr]
    nn.init.zeros_(scale)  # type: ignore[arg-type]
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]


class TowerInputs(nn.Module):
    """x at the resolution of every module, and what the first convolution of each makes of it (TIM section 4.1).

    x (B, C_x, h, w) is halved for the lower modules and, where y is larger than x, enlarged for the upper ones, the
    uppermost of which has y's size (scale h, scale w). Returned are, lowest module first, the picture its answer is
    added to and the convolution's share: all that depends on x alone.
    """

    def __init__(
        self, scale: int, in_channels: int, out_channels: int, widths: Sequence[int], normalised: bool
    ) -> None:
        super().__init__()
        self.scale, self.out_channels = scale, out_channels
        self.convs = nn.ModuleList(Conv2d(in_channels, width, 3, padding=1) for width in widths)
        if normalised:
            weight_normalise(self)

    def sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Return the (height, width) of every module, lowest first, for an x of height x width."""
        top = len(self.convs) - 1
        return [(height * self.scale >> top - k, width * self.scale >> top - k) for k in range(top + 1)]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return (B, out_channels, H_k, W_k) and (B, width, H_k, W_k) of module 0, then of module 1, and so on."""
        parts: list[Tensor] = []
        for conv, size in zip(self.convs, self.sizes(x.shape[-2], x.shape[-1]), strict=True):
            resized = x if size == x.shape[-2:] else bicubic_resize(x, size)
            parts += [guess_from(resized, self.out_channels, 1, "bicubic"), conv(resized - 0.5)]
        return tuple(parts)


class TowerModule(nn.Module):
    """One module: conv 3x3 -> RRDBs, each scaled and shifted channel by channel -> conv 3x3, long skip -> two convs.

    The first convolution's input is x, the latent code and the upscaled features of the module below; x's share of it
    is given. The scales 1 + s and offsets come of a mapping network. What the module answers is added to the upscaled
    answer of the module below (TIM sections 4.1 and 4.3; figures 4 and 5).
    """

    def __init__(
        self,
        code_channels: int,
        lower_channels: int,
        channels: int,
        growth: int,
        blocks: int,
        out_channels: int,
        mapping: MappingNet | None,
        normalised: bool,
    ) -> None:
        super().__init__()
        self.from_drawn = Conv2d(code_channels + lower_channels, channels, 3, padding=1, bias=False)
        self.blocks = nn.ModuleList(RRDB(channels, growth) for _ in range(blocks))
        self.last = Conv2d(channels, channels, 3, padding=1)
        self.features = Conv2d(channels, channels, 3, padding=1)
        self.head = Conv2d(channels, out_channels, 3, padding=1)
        if normalised:
            weight_normalise(self)
        answer_zero(self.head)
        self.mapping = mapping

    def _styled(self, features: Tensor, vector: Sequence[Tensor]) -> Tensor:
        if self.mapping is None:
            styles = []
        else:
            styles = list(self.mapping(*vector).chunk(2 * len(self.blocks), 1))
        for k, block in enumerate(self.blocks):
            features = block(features)
            if styles:
                features = (1 + styles[2 * k]) * features + styles[2 * k + 1]
        return features

    def forward(self, hidden: Tensor, codes: Sequence[Tensor], below: State | None) -> State:
        """Return features (B, channels, H, W) and the answer (B, out_channels, H, W), in the codes' precision.

        ``hidden`` (B or 1, channels, H, W) is x's share, ``codes`` a code (B, code_channels, H, W) and, with a mapping
        network, its vector (B, dim, 1, 1); ``below`` is what the module below returned.
        """
        code, *vector = codes
        drawn = code if below is None else torch.cat((code, F.interpolate(below[0], scale_factor=2.0)), 1)
        first = hidden + self.from_drawn(drawn)
        features = first + self.last(self._styled(first, vector))
        features = F.leaky_relu(self.features(features), _SLOPE)
        answer = self.head(features).to(code.dtype)
        if below is None:
            return features, answer
        return features, answer + bicubic_resize(below[1], (answer.shape[-2], answer.shape[-1]))
