"""Flow steps that preserve volume: rotations of the channels and couplings that only translate."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..nets.coupling import CouplingNet
from .linear import Affine1x1
from .pyramid import Chain, Step
from .transform import Transform


class Rotation1x1(Affine1x1):
    """z = Q (y + b) at every position, Q = exp(A - A^T) a rotation: log-det 0 (CNF section 5.2, volume preserving).

    A is strictly lower triangular and random at the start. The inverse is the transpose, so that the way back is as
    well conditioned as the way there, whatever is learned.
    """

    def __init__(self, channels: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.lower = nn.Parameter(torch.randn(channels, channels, generator=generator).tril(-1) / channels**0.5)
        self.bias = nn.Parameter(torch.zeros(channels))

    def matrix(self) -> Tensor:
        """Return Q, (C, C), the exponential taken in float64."""
        lower = self.lower.double().tril(-1)
        rotation: Tensor = torch.linalg.matrix_exp(lower - lower.T)
        return rotation.to(self.lower.dtype)

    def _there(self) -> tuple[Tensor, Tensor | None]:
        matrix = self.matrix()
        return matrix, matrix @ self.bias

    def _back(self) -> tuple[Tensor, Tensor | None]:
        return self.matrix().T, -self.bias

    def _log_det(self) -> Tensor:
        return self.bias.new_zeros(())


class TranslationCoupling(Transform):
    """z0 = y0 + t(y1, x), z1 = y1, log-det 0 (CNF section 5.2: "just the translation t"), |t| < shift_bound.

    The context (B or 1, width, H, W) is the part of the net's first convolution that depends on x alone.
    """

    def __init__(self, channels: int, width: int, shift_bound: float = 4.0) -> None:
        super().__init__()
        self.kept = channels // 2
        self.changed = channels - self.kept
        self.context_channels = width
        self.shift_bound = shift_bound
        self.net = CouplingNet(self.kept, width, self.changed, torch.full((self.changed,), shift_bound))

    def _shift(self, kept: Tensor, context: Tensor) -> Tensor:
        shift: Tensor = self.shift_bound * self.net(kept, context)
        return shift

    def forward(self, y: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return [y0 + t, y1] and zeros (B,)."""
        changed, kept = y.split((self.changed, self.kept), 1)
        return torch.cat((changed + self._shift(kept, context), kept), 1), y.new_zeros(y.shape[0])

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return [z0 - t, z1] and zeros (B,)."""
        changed, kept = z.split((self.changed, self.kept), 1)
        return torch.cat((changed - self._shift(kept, context), kept), 1), z.new_zeros(z.shape[0])


def translation_step(width: int, shift_bound: float = 4.0) -> Step:
    """Return a maker of the subflow for binary targets, rotation -> conditional translation (CNF section 5.2).

    Instance normalization of y itself, which the paper puts first, cannot be undone (docs/decisions/instance-norm.md).
    """

    def make(channels: int) -> Transform:
        return Chain([Rotation1x1(channels), TranslationCoupling(channels, width, shift_bound)])

    return make
