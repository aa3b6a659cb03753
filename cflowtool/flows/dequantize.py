"""From discrete pixel values to a density."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..device import to_device
from ..nets.condition import ConditionNet
from .gaussian import standard_normal_log_prob
from .injected import InjectedSteps
from .squeeze import Squeeze
from .transform import total


def uniform_dequantize(y: Tensor, levels: int, generator: torch.Generator | None = None) -> Tensor:
    """Return y + (u - 1/2) / levels with u ~ U[0, 1), for y at the midpoints (v + 1/2) / levels (CNF section 5.1).

    Every value stays in its own cell of width 1 / levels, so that the density of the result bounds the probability
    of the discrete image from below: log P(v) >= E log p(y) - D log(levels).
    """
    noise = torch.rand(y.shape, generator=generator, dtype=y.dtype, device=generator.device if generator else y.device)
    return y + (to_device(noise, y.device) - 0.5) / levels


class VariationalDequantizer(nn.Module):
    """q(v|y, x) of the continuous v behind a discrete y: noise eps ~ N(0, I) through a one-scale conditional flow.

    u = f(eps; y, x). For grey levels at midpoints v = y + (Phi(u) - 1/2) / levels, which starts uniform over the cell
    (CAFLOW appendix A.1, after Flow++); for binary y in {0, 1} v = 1/2 + sign(y - 1/2) softplus(u), so that
    v > 1/2 where y = 1 (CNF equation 8). log q(v|y, x) = log N(eps; 0, I) - log|det dv / d eps|, and
    log P(y|x) >= E_q [log p(v|x) - log q(v|y, x)]. H and W are even.
    """

    def __init__(
        self,
        channels: int,
        condition_channels: int = 0,
        steps: int = 4,
        width: int = 32,
        binary: bool = False,
        levels: int = 256,
    ) -> None:
        super().__init__()
        self.binary, self.levels = binary, levels
        inner = 4 * channels
        self.squeeze = Squeeze()
        self.flow = InjectedSteps(inner, width, [None] * steps)
        self.net = ConditionNet(4 * condition_channels, inner, steps, inner, width)

    def condition(self, features: Tensor) -> Tensor:
        """Return what depends on x alone, of its features (B, condition_channels, H, W) at y's resolution."""
        return self.net.hidden(F.pixel_unshuffle(features, 2))

    def forward(self, y: Tensor, eps: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Return v (B, C, H, W) and log q(v|y, x), (B,), of y and noise eps (B, C, H, W)."""
        nothing = y.new_zeros(1, 0, 1, 1)
        context = self.net(condition, 2 * self.squeeze(y, nothing)[0] - 1)
        u, log_det = self.flow(self.squeeze(eps, nothing)[0], *context)
        u, _ = self.squeeze.inverse(u, nothing)
        v, log_slope = self._spread(y, u)
        return v, standard_normal_log_prob(eps) - log_det - total(log_slope, y.shape[0])

    def _spread(self, y: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return v and log|dv / du| of every value."""
        if self.binary:
            return torch.where(y > 0.5, 0.5 + F.softplus(u), 0.5 - F.softplus(u)), F.logsigmoid(u)
        log_density = -0.5 * (u.square() + math.log(2 * math.pi))
        return y + (torch.special.ndtr(u) - 0.5) / self.levels, log_density - math.log(self.levels)


def standard_normal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return N(0, I) noise in the shape of a tensor, drawn on the CPU; without a generator always the same."""
    generator = generator or torch.Generator().manual_seed(0)
    noise = torch.randn(like.shape, generator=generator, dtype=like.dtype, device=generator.device)
    return to_device(noise, like.device)
