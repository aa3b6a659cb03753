"""Parts of a network whose activations are computed again when gradients are made."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Thrifty(nn.Module):
    """A network of parts that, with ``recompute``, keeps of each part what goes in and nothing of what is inside."""

    recompute = False

    @property
    def thrifty(self) -> bool:
        """Whether this pass is one of training that keeps little."""
        return self.recompute and self.training and torch.is_grad_enabled()

    def part(self, net: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Return net(x)."""
        if self.thrifty:
            kept: Tensor = checkpoint(net, x, use_reentrant=False, preserve_rng_state=False)
            return kept
        out: Tensor = net(x)
        return out
