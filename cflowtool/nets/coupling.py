"""The small network inside a coupling."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from .convolution import Conv2d


class CouplingNet(nn.Module):
    """conv 3x3 -> ReLU -> conv 1x1 -> ReLU -> conv 3x3 of [z, h], its output zero at the start.

    The first convolution is linear in its concatenated input, conv([z, h]) = conv_z(z) + conv_h(h). conv_h(h) does
    not depend on z: the caller computes it once per image, ``hidden`` (B or 1, width, H, W), bias included.
    """

    def __init__(self, channels: int, width: int, out_channels: int) -> None:
        super().__init__()
        self.first = Conv2d(channels, width, 3, padding=1, bias=False)
        self.middle = Conv2d(width, width, 1)
        self.last = Conv2d(width, out_channels, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, z: Tensor, hidden: Tensor) -> Tensor:
        """Return (B, out_channels, H, W) of z (B, channels, H, W), in z's own precision."""
        features = F.relu(self.first(z) + hidden, inplace=True)
        out: Tensor = self.last(F.relu(self.middle(features), inplace=True))
        return out.to(z.dtype)
