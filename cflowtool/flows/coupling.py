"""Conditional affine coupling."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..nets.coupling import CouplingNet
from .transform import Transform, total

Mapped = tuple[Tensor, Tensor]


class _Changed(torch.autograd.Function):
    """exp(s) y0 + t and s, of what a coupling's net says before its bounds; gradients in as few passes as there are."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, raw: Tensor, bounds: Tensor, scale_bound: float, shift_bound: float) -> Mapped:
        shares = torch.div(raw, bounds).tanh_()
        scale, shift = shares.chunk(2, 1)
        log_scale = scale_bound * scale
        factor = log_scale.exp()
        ctx.save_for_backward(y, shares, factor)
        return torch.add(y * factor, shift, alpha=shift_bound), log_scale

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_z: Tensor, of_log_scale: Tensor) -> tuple[Tensor | None, ...]:
        y, shares, factor = ctx.saved_tensors
        of_y = of_z * factor
        # The derivative of bound * tanh(raw / bound) is 1 - tanh^2, whatever the bound.
        of_raw = torch.cat((torch.addcmul(of_log_scale, of_y, y), of_z), 1)
        return of_y, torch.ops.aten.tanh_backward(of_raw, shares), None, None, None


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

    def _given(self, context: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return what the net is given beside y1, features and a bias."""
        return context, None

    def forward(self, y: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return [exp(s) y0 + t, y1] and sum(s), (B,)."""
        changed, kept = y.split((self.changed, self.kept), 1)
        if torch.is_grad_enabled():
            raw, bounds = self.net.raw(kept, *self._given(context)), (self.scale_bound, self.shift_bound)
            changed, log_scale = _Changed.apply(changed, raw, self.net.bounds, *bounds)  # type: ignore[no-untyped-call]
            return torch.cat((changed, kept), 1), total(log_scale, y.shape[0])
        scale, shift = self.net(kept, *self._given(context)).chunk(2, 1)
        log_scale = self.scale_bound * scale
        changed = torch.add(changed * log_scale.exp(), shift, alpha=self.shift_bound)
        return torch.cat((changed, kept), 1), total(log_scale, y.shape[0])

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return [(z0 - t) exp(-s), z1] and -sum(s), (B,)."""
        changed, kept = z.split((self.changed, self.kept), 1)
        scale, shift = self.net(kept, *self._given(context)).chunk(2, 1)
        log_scale = -self.scale_bound * scale
        changed = torch.sub(changed, shift, alpha=self.shift_bound) * log_scale.exp()
        return torch.cat((changed, kept), 1), total(log_scale, z.shape[0])


class UnconditionalCoupling(AffineCoupling):
    """The same without x, z0 = exp(s(y1)) y0 + t(y1): the first convolution has a bias in the context's place."""

    def __init__(self, channels: int, width: int, scale_bound: float = 1.0, shift_bound: float = 4.0) -> None:
        super().__init__(channels, width, scale_bound, shift_bound)
        self.context_channels = 0
        self.bias = nn.Parameter(torch.zeros(1, width, 1, 1))

    def _given(self, context: Tensor) -> tuple[Tensor | None, Tensor | None]:
        return None, self.bias
