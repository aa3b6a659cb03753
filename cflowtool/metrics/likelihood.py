"""Log-densities in the unit that can be compared between image sizes."""

from __future__ import annotations

import math

from torch import Tensor


def bits_per_dim(log_prob: Tensor, dims: int, levels: int = 256) -> Tensor:
    """Bits per dimension, -log p / (D ln 2) + log2(levels), of log densities (B,) in nats over y in [0, 1)^D.

    The second term turns the density of the dequantized value into the probability of one of `levels` grey levels,
    so that the uniform density costs log2(levels) bits. Shape (B,). Raises ValueError unless D and levels are positive.
    """
    if dims < 1 or levels < 1:
        raise ValueError(f"dims ({dims}) and levels ({levels}) must be positive")
    return -log_prob / (dims * math.log(2)) + math.log2(levels)
