"""The small network inside a coupling."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .convolution import Conv2d, Fixed, by_onednn
from .prepared import Preparable


class CouplingNet(Preparable):
    """conv 3x3 -> ReLU -> conv 1x1 -> ReLU -> conv 3x3 of [z, h], its output zero at the start.

    The first convolution is linear in its concatenated input, conv([z, h]) = conv_z(z) + conv_h(h). conv_h(h) does
    not depend on z: the caller computes it once per image, ``hidden`` (B or 1, width, H, W), bias included; without h
    there is only a ``bias`` (1, width, 1, 1). With ``bounds``, one a channel of the output, the network answers
    tanh(output / bounds), their share.
    """

    bounds: Tensor | None
    _fixed: tuple[Fixed, Fixed, Fixed]

    def __init__(self, channels: int, width: int, out_channels: int, bounds: Tensor | None = None) -> None:
        super().__init__()
        self.first = Conv2d(channels, width, 3, padding=1, bias=False)
        self.middle = Conv2d(width, width, 1)
        self.last = Conv2d(width, out_channels, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]
        self.register_buffer("bounds", None if bounds is None else bounds[:, None, None], persistent=False)

    def make(self) -> None:
        """Keep the three convolutions, the last one divided by the bounds, whose tanh is then the answer."""
        last, bounds = self.last.fixed, self.bounds
        if bounds is not None and last.bias is not None:
            last = Fixed(last.kernel / bounds[..., None], last.bias / bounds.flatten(), *last.how)
        self._fixed = self.first.fixed, self.middle.fixed, last

    def raw(self, z: Tensor, hidden: Tensor | None, bias: Tensor | None = None) -> Tensor:
        """Return the answer before its bounds, in z's own precision."""
        features = self._features(self.first, self.middle, z, hidden, bias)
        out: Tensor = self.last(features).to(z.dtype)
        return out

    def forward(self, z: Tensor, hidden: Tensor | None, bias: Tensor | None = None) -> Tensor:
        """Return (B, out_channels, H, W) of z (B, channels, H, W), in z's own precision."""
        if self.prepared and by_onednn(z):
            first, middle, last = self._fixed
            features = self._features(first, middle, z, hidden, bias)
            return last(features, "none" if self.bounds is None else "tanh")
        out = self.raw(z, hidden, bias)
        return out if self.bounds is None else torch.tanh(out / self.bounds)

    @staticmethod
    def _features(
        first: Conv2d | Fixed, middle: Conv2d | Fixed, z: Tensor, hidden: Tensor | None, bias: Tensor | None
    ) -> Tensor:
        if hidden is None:
            features = first(z, "relu", bias)
        else:
            features = F.relu(first(z) + hidden, inplace=True)
        answer: Tensor = middle(features, "relu")
        return answer
