"""The small network inside a coupling."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .convolution import Arranged, Conv2d, by_onednn, convolve
from .prepared import Preparable


class CouplingNet(Preparable):
    """conv 3x3 -> ReLU -> conv 1x1 -> ReLU -> conv 3x3 of [z, h], its output zero at the start.

    The first convolution is linear in its concatenated input, conv([z, h]) = conv_z(z) + conv_h(h). conv_h(h) does
    not depend on z: the caller computes it once per image, ``hidden`` (B or 1, width, H, W), bias included; without h
    there is only a ``bias`` (1, width, 1, 1). With ``bounds``, one a channel of the output, the network answers
    tanh(output / bounds), their share.
    """

    bounds: Tensor | None

    def __init__(self, channels: int, width: int, out_channels: int, bounds: Tensor | None = None) -> None:
        super().__init__()
        self.first = Conv2d(channels, width, 3, padding=1, bias=False)
        self.middle = Conv2d(width, width, 1)
        self.last = Conv2d(width, out_channels, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]
        self.register_buffer("bounds", None if bounds is None else bounds[:, None, None], persistent=False)

    def make(self) -> None:
        """Keep the last convolution divided by the bounds, whose tanh is then the answer."""
        weight, bias, bounds = self.last.weight, self.last.bias, self.bounds
        assert bias is not None
        if bounds is not None:
            self._shares = weight / bounds[..., None], bias / bounds.flatten(), Arranged()

    def _features(self, z: Tensor, hidden: Tensor | None, bias: Tensor | None) -> Tensor:
        if bias is None:
            first = F.relu(self.first(z) + hidden, inplace=True)
        else:
            first = self.first(z, "relu", bias)
        features: Tensor = self.middle(first, "relu")
        return features

    def forward(self, z: Tensor, hidden: Tensor | None, bias: Tensor | None = None) -> Tensor:
        """Return (B, out_channels, H, W) of z (B, channels, H, W), in z's own precision."""
        features = self._features(z, hidden, bias)
        if self.bounds is not None and self.prepared and by_onednn(features):
            kernel, bias, arranged = self._shares
            return convolve(features, kernel, bias, (1, 1), then="tanh", arranged=arranged)
        out: Tensor = self.last(features).to(z.dtype)
        return out if self.bounds is None else torch.tanh(out / self.bounds)
