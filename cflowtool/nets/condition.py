"""The conditioning of a chain of injectors and couplings, all its steps at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .convolution import Conv2d, Fixed, by_onednn
from .prepared import Preparable


class ConditionNet(Preparable):
    """[u, v] -> for each of ``steps`` steps an injector's shift and log-scale and a coupling net's first features.

    u (``known`` channels) depends on x alone, v (``drawn`` channels, or none) on the sample too. An injector's net is
    conv 3x3 -> ReLU -> conv 1x1 -> ReLU -> conv 3x3 (CAFLOW appendix A.2, width 32), zero at the start, and its
    log-scale is bound * tanh(raw / bound); of a coupling's net this is the first convolution's share. That convolution
    is linear, conv([u, v]) = conv_u(u) + conv_v(v), so that ``hidden`` is made once per image. The nets of all steps
    are the groups of one convolution.
    """

    _shift: Fixed
    _share: Fixed

    def __init__(self, known: int, drawn: int, steps: int, channels: int, width: int, bound: float = 3.0) -> None:
        super().__init__()
        self.steps, self.width, self.bound = steps, width, bound
        inner = steps * width
        self.from_known = Conv2d(known, 2 * inner, 3, padding=1) if known else None
        self.from_drawn = Conv2d(drawn, 2 * inner, 3, padding=1, bias=not known) if drawn else None
        self.middle = Conv2d(inner, inner, 1, groups=steps)
        self.last = Conv2d(inner, steps * 2 * channels, 3, padding=1, groups=steps)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def hidden(self, known: Tensor) -> Tensor:
        """Return conv_u(u), (B, 2 steps width, H, W), of u (B, known, H, W)."""
        if self.from_known is None:
            return known.new_zeros(1, 2 * self.steps * self.width, 1, 1)
        features: Tensor = self.from_known(known)
        return features

    def make(self) -> None:
        """Keep the last convolution's two halves, that of the log-scales divided by the bound."""
        last = self.last.fixed
        assert last.bias is not None
        kernel, bias = (part.unflatten(0, (self.steps, 2, -1)) for part in (last.kernel, last.bias))
        self._shift = Fixed(kernel[:, 0].flatten(0, 1), bias[:, 0].flatten(), *last.how)
        self._share = Fixed(kernel[:, 1].flatten(0, 1) / self.bound, bias[:, 1].flatten() / self.bound, *last.how)

    def forward(self, hidden: Tensor, drawn: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the injectors' shifts and log-scales (B, steps C, H, W), and (B, steps width, H, W) for the couplings.

        All are in the order of the steps; the first two are of fp32 at least.
        """
        if self.from_drawn is not None:
            hidden = hidden + self.from_drawn(drawn)
        injectors, couplings = hidden.chunk(2, 1)
        features = self.middle(F.relu(injectors), "relu")
        if self.prepared and by_onednn(features):
            return self._shift(features), self.bound * self._share(features, "tanh"), couplings
        answer = self.last(features)
        answer = answer.to(torch.promote_types(answer.dtype, torch.float32)).unflatten(1, (self.steps, 2, -1))
        shift, raw = (part.flatten(1, 2) for part in answer.unbind(2))
        return shift, self.bound * torch.tanh(raw / self.bound), couplings
