"""Activation normalization."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .transform import Transform, occupied, total_constant

_SMALLEST_STD = 1e-4


class ActNorm(Transform):
    """Per-channel affine map z = exp(log_scale) * (y + bias), log-det H W sum(log_scale) (CNF section 5.1).

    The first batch seen in training sets zero mean and unit variance per channel; that it has been seen is a saved
    buffer, so that loading a weight never initialises again. A constant channel is scaled by at most 1e4.
    """

    initialised: Tensor
    _seen_at: int | None = None

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("initialised", torch.zeros((), dtype=torch.bool))

    @property
    def seen(self) -> bool:
        """Whether a first batch has been seen."""
        # To ask a GPU is to wait for it: once is enough, until the buffer is written to.
        version = self.initialised._version
        if self._seen_at != version and bool(self.initialised):
            self._seen_at = version
        return self._seen_at == version

    @torch.no_grad()
    def initialise(self, y: Tensor) -> None:
        """Set scale and bias from the statistics of y (B, C, H, W), once and only in training mode."""
        if not self.training or self.seen:
            return
        values = occupied(y)
        self.bias.copy_(-values.mean(1))
        self.log_scale.copy_(-values.std(1, correction=0).clamp_min(_SMALLEST_STD).log())
        self.initialised.fill_(True)

    def forward(self, y: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return exp(log_scale) * (y + bias) and its log-det (B,)."""
        self.initialise(y)
        scale, bias = self.log_scale.exp()[:, None, None], self.bias[:, None, None]
        return scale * (y + bias), total_constant(self.log_scale.sum(), y)

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return z exp(-log_scale) - bias and its log-det (B,)."""
        scale, bias = self.log_scale.neg().exp()[:, None, None], self.bias[:, None, None]
        return z * scale - bias, total_constant(-self.log_scale.sum(), z)
