"""Space to channels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .transform import Transform


class Squeeze(Transform):
    """(B, C, H, W) -> (B, 4C, H/2, W/2), a permutation of the dimensions: log-det 0. H and W must be even."""

    def forward(self, y: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return each 2x2 block as four channels and zeros (B,)."""
        return F.pixel_unshuffle(y, 2).contiguous(memory_format=torch.channels_last), y.new_zeros(y.shape[0])

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return every four channels as a 2x2 block and zeros (B,)."""
        return F.pixel_shuffle(z, 2).contiguous(memory_format=torch.channels_last), z.new_zeros(z.shape[0])
