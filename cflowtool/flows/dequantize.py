"""From discrete pixel values to a density."""

from __future__ import annotations

import torch
from torch import Tensor


def uniform_dequantize(y: Tensor, levels: int, generator: torch.Generator | None = None) -> Tensor:
    """Return y + (u - 1/2) / levels with u ~ U[0, 1), for y at the midpoints (v + 1/2) / levels (CNF section 5.1).

    Every value stays in its own cell of width 1 / levels, so that the density of the result bounds the probability
    of the discrete image from below: log P(v) >= E log p(y) - D log(levels).
    """
    noise = torch.rand(y.shape, generator=generator, dtype=y.dtype, device=generator.device if generator else y.device)
    return y + (noise.to(y.device) - 0.5) / levels
