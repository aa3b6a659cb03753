"""Parts of a network whose activations are computed again when gradients are made."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Thrifty(nn.Module):
    """A network of parts that, with ``recompute``, keeps of each part what goes in and nothing of what is inside."""

    recompute = False

    def part(self, net: nn.Module, x: Tensor) -> Tensor:
        """Return net(x)."""
        if self.recompute and self.training and torch.is_grad_enabled():
            kept: Tensor = checkpoint(net, x, use_reentrant=False, preserve_rng_state=False)
            return kept
        out: Tensor = net(x)
        return out
