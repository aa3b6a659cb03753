"""Conditional affine maps whose parameters depend on x alone."""

from __future__ import annotations

import torch
from torch import Tensor

from .transform import Transform, bounded, total

LOG_SCALE_BOUND = 3.0


class AffineInjector(Transform):
    """z = (y - b(x)) exp(-s(x)), log-det -sum(s), with s = centre + 3 tanh(raw / 3) (CAFLOW section 4.2).

    The context (B or 1, 2C, H, W) is b and raw themselves. ``centre`` is where the log-scale starts; ``log_spread`` is
    added to it, so that a trained model's samples can be spread wider around b, exactly.
    """

    def __init__(self, channels: int, centre: float = 0.0) -> None:
        super().__init__()
        self.context_channels = 2 * channels
        self.centre = centre
        self.log_spread = 0.0

    def _shift_and_scale(self, y: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        shift, raw = context.to(y.dtype).chunk(2, 1)
        log_scale, offset = bounded(raw, LOG_SCALE_BOUND), self.centre + self.log_spread
        return shift, log_scale + offset if offset else log_scale

    def forward(self, y: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return (y - b) exp(-s) and -sum(s), (B,)."""
        shift, log_scale = self._shift_and_scale(y, context)
        return (y - shift) * (-log_scale).exp(), -total(log_scale, y.shape[0])

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return b + exp(s) z and sum(s), (B,)."""
        shift, log_scale = self._shift_and_scale(z, context)
        return torch.addcmul(shift, z, log_scale.exp()), total(log_scale, z.shape[0])
