"""Conditional affine coupling."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..nets.coupling import CouplingNet
from .transform import Transform, total


class AffineCoupling(Transform):
    """z0 = exp(s(y1, x)) y0 + t(y1, x), z1 = y1, log-det sum(s) (CNF section 3.1, conditional coupling).

    Both are bounded, |s| < scale_bound and |t| < shift_bound, so that neither direction can run away: unbounded
    couplings learn the density well and explode in sampling. The context (B or 1, width, H, W) is the part of the
    net's first convolution that depends on x alone.
    """

    def __init__(self, channels: int, width: int, scale_bound: float = 1.0, shift_bound: float = 4.0) -> None:
        super().__init__()
        self.kept = channels // 2
        self.changed = channels - self.kept
        self.context_channels = width
        self.scale_bound, self.shift_bound = scale_bound, shift_bound
        bounds = torch.tensor([scale_bound, shift_bound]).repeat_interleave(self.changed)
        self.net = CouplingNet(self.kept, width, 2 * self.changed, bounds)

    def _shares(self, kept: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return s and t as shares of their bounds."""
        scale, shift = self._answer(kept, context).chunk(2, 1)
        return scale, shift

    def _answer(self, kept: Tensor, context: Tensor) -> Tensor:
        answer: Tensor = self.net(kept, context)
        return answer

    def forward(self, y: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return [exp(s) y0 + t, y1] and sum(s), (B,)."""
        changed, kept = y.split((self.changed, self.kept), 1)
        scale, shift = self._shares(kept, context)
        log_scale = self.scale_bound * scale
        changed = torch.add(changed * log_scale.exp(), shift, alpha=self.shift_bound)
        return torch.cat((changed, kept), 1), total(log_scale, y.shape[0])

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return [(z0 - t) exp(-s), z1] and -sum(s), (B,)."""
        changed, kept = z.split((self.changed, self.kept), 1)
        scale, shift = self._shares(kept, context)
        log_scale = -self.scale_bound * scale
        changed = torch.sub(changed, shift, alpha=self.shift_bound) * log_scale.exp()
        return torch.cat((changed, kept), 1), total(log_scale, z.shape[0])


class UnconditionalCoupling(AffineCoupling):
    """The same without x, z0 = exp(s(y1)) y0 + t(y1): the first convolution has a bias in the context's place."""

    def __init__(self, channels: int, width: int, scale_bound: float = 1.0, shift_bound: float = 4.0) -> None:
        super().__init__(channels, width, scale_bound, shift_bound)
        self.context_channels = 0
        self.bias = nn.Parameter(torch.zeros(1, width, 1, 1))

    def _answer(self, kept: Tensor, context: Tensor) -> Tensor:
        answer: Tensor = self.net(kept, None, self.bias)
        return answer
