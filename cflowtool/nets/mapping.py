"""The mapping network: a latent vector to what scales and shifts the channels of another network."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

_SLOPE = 0.2
_LAST_SPREAD = 0.1


class MappingNet(nn.Module):
    """z (B, dim, 1, 1) -> (B, out_channels, 1, 1): dense layers of one width with leaky ReLU, and a linear one.

    After Karras et al. (2019), as TIM section 4.3 uses it. Of z ~ N(0, I) the answer's spread at the start is 0.1.
    The layers are 1x1 convolutions, so that a vector's answer is bit for bit the same in every batch.
    """

    def __init__(self, dim: int, width: int, layers: int, out_channels: int) -> None:
        super().__init__()
        self.dense = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in pairwise([dim] + layers * [width]))
        self.last = nn.Conv2d(width if layers else dim, out_channels, 1)
        for layer in self.dense:
            nn.init.kaiming_normal_(layer.weight, a=_SLOPE)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.last.weight, std=_LAST_SPREAD / self.last.in_channels**0.5)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, z: Tensor) -> Tensor:
        """Return the answer to z, (B, out_channels, 1, 1)."""
        for layer in self.dense:
            z = F.leaky_relu(layer(z), _SLOPE)
        out: Tensor = self.last(z)
        return out
