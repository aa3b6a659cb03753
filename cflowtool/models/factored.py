"""The factored baseline: a product of discretized logistics on the same encoder."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..flows.gaussian import Latent
from ..flows.injector import LOG_SCALE_BOUND
from ..flows.pyramid import Context
from ..flows.transform import bounded, total
from ..metrics.likelihood import bits_per_dim
from ..nets.encoder import Encoder, Shift
from ..nets.vgg import UNet
from .base import Density, Draws, SizeRule, per_sample

_LOG_SCALE_CENTRE = -4.0


@dataclass(frozen=True)
class FactoredConfig:
    """Sizes of the baseline; growth 55 on 16 blocks matches the paper's parameter budget (CNF section 5.1).

    ``depth`` > 0 makes the trunk a U-Net that goes so many halvings down, of ``blocks`` plain residual blocks a
    resolution and direction.
    """

    scale: int = 2
    in_channels: int = 3
    channels: int = 3
    trunk_channels: int = 64
    blocks: int = 16
    growth: int = 55
    shift: Shift = "mean"
    levels: int = 256
    depth: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError for dense blocks in a U-Net, which has none."""
        if self.depth and self.growth:
            raise ValueError("a trunk of some depth has plain residual blocks: growth must be 0")


class Factored(Density):
    """p(y|x) = prod_d levels * (sigmoid((y_d + c - mu_d) / s_d) - sigmoid((y_d - c - mu_d) / s_d)), c = 1 / (2 levels).

    Samples are drawn from the logistics themselves. At the midpoints of the pixel values this is the discretized
    logistic of CNF section 5.1, spread evenly over each value's cell; the first and the last value take the tails.
    """

    Config = FactoredConfig

    def __init__(self, config: FactoredConfig) -> None:
        super().__init__()
        self.config = config
        self.scale, self.in_channels, self.channels = config.scale, config.in_channels, config.channels
        self.levels = config.levels
        self.size = SizeRule(multiple_of=2**config.depth)
        self.reach = 3 + config.blocks * (15 if config.growth else 2)
        if config.depth:
            self.reach = UNet.reach_of(config.depth, config.blocks) + 1
        self.encoder = Encoder(
            config.scale,
            config.channels,
            config.trunk_channels,
            config.blocks,
            config.growth,
            config.shift,
            config.in_channels,
            depth=config.depth,
        )

    def latent_shapes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """Return the one level's noise shape, that of y."""
        return [(self.config.channels, height * self.scale, width * self.scale)]

    def encode(self, x: Tensor) -> Context:
        """Return (B, 2C, H, W) of location and log-scale."""
        _, location, raw = self.encoder(x)
        return (torch.cat((location, _LOG_SCALE_CENTRE + bounded(raw, LOG_SCALE_BOUND)), 1),)

    def log_prob_given(self, y: Tensor, context: Context) -> Tensor:
        """Return log p(y|x), (B,), in nats."""
        location, log_scale = context[0].chunk(2, 1)
        half, inverse = 0.5 / self.levels, (-log_scale).exp()
        upper, lower = (y - location + half) * inverse, (y - location - half) * inverse
        log_mass = F.logsigmoid(upper) + F.logsigmoid(-lower) + torch.log(-torch.expm1(lower - upper))
        log_mass = torch.where(y < 2 * half, F.logsigmoid(upper), log_mass)
        log_mass = torch.where(y > 1 - 2 * half, F.logsigmoid(-lower), log_mass)
        return total(log_mass + math.log(self.levels), y.shape[0])

    def decode(self, eps: Latent, context: Context) -> Draws:
        """Return y = mu + s logit(Phi(eps)) and its log-probability, of noise (B, N, C, H, W)."""
        batch, samples = eps[0].shape[:2]
        context = per_sample(context, samples)
        location, log_scale = context[0].chunk(2, 1)
        flat = eps[0].flatten(0, 1)
        logit = torch.special.log_ndtr(flat) - torch.special.log_ndtr(-flat)
        y = location + log_scale.exp() * logit
        return Draws(y.unflatten(0, (batch, samples)), self.log_prob_given(y, context).view(batch, samples))

    def loss(self, y: Tensor, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return bits per dimension, (B,)."""
        return bits_per_dim(self.log_prob(y, x), y[0].numel(), self.levels)

    def warm_loss(self, y: Tensor, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return the absolute error of the location alone, in thousandths of the pixel range, (B,)."""
        location: Tensor = self.encoder(x)[1]
        return 1000 * (y - location).abs().flatten(1).mean(1)
