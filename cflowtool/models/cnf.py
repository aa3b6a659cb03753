"""CNF: learning likelihoods with conditional normalizing flows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..flows.dequantize import uniform_dequantize
from ..flows.gaussian import Latent, standard_normal_log_prob
from ..flows.injector import AffineInjector
from ..flows.pyramid import Context, Pyramid, affine_step
from ..metrics.likelihood import bits_per_dim
from ..nets.encoder import Encoder, Shift
from ..nets.pyramid import resolution_change
from .base import Density, Draws, SizeRule, per_sample

_LOG_SCALE_CENTRE = -4.0


@dataclass(frozen=True)
class CNFConfig:
    """Sizes of a CNF; the defaults are the paper's (section 5.1) where it gives them."""

    scale: int = 2
    in_channels: int = 3
    channels: int = 3
    levels: int = 2
    steps: int = 8
    width: int = 64
    trunk_channels: int = 64
    blocks: int = 16
    growth: int = 32
    unshuffle: int = 1
    shift: Shift = "none"
    scale_bound: float = 1.0
    shift_bound: float = 4.0
    mean_weight: float = 0.0
    spread: float = 1.0


def receptive_field(config: CNFConfig) -> int:
    """Return how many pixels of x away a value can influence y: all 3x3 convolutions one after another."""
    per_block = 15 if config.growth else 2
    trunk = (3 + config.blocks * per_block) * config.unshuffle + config.unshuffle - 1
    flow: int = sum((2 * config.steps + 4) * 2**level for level in range(1, config.levels + 1))
    return trunk + -(-flow // config.scale)


class CNF(Density):
    """p(y|x) = N(f(y; x); 0, I) |det df/dy| with f = Pyramid((y - shift(x)) / scale(x)) (CNF equation 7).

    The context is shift and log-scale at y's resolution, then, for every level, what the first convolutions of its
    coupling nets make of x. With ``mean_weight`` > 0 the shift is a mean trained by its absolute error beside the
    likelihood, which does not reach it: an exact shift, log-det 0. ``spread`` widens p around the shift by a factor
    that is fitted after training (cflowtool.calibrate).
    """

    Config = CNFConfig

    def __init__(self, config: CNFConfig) -> None:
        super().__init__()
        self.config = config
        self.scale, self.in_channels, self.channels = config.scale, config.in_channels, config.channels
        self.size = SizeRule(multiple_of=max(config.unshuffle, 2**config.levels // config.scale))
        self.reach = receptive_field(config)
        self.encoder = Encoder(
            config.scale,
            config.channels,
            config.trunk_channels,
            config.blocks,
            config.growth,
            config.shift,
            config.in_channels,
            config.unshuffle,
        )
        self.injector = AffineInjector(config.channels, _LOG_SCALE_CENTRE)
        self.injector.log_spread = math.log(config.spread)
        step = affine_step(config.width, config.scale_bound, config.shift_bound)
        self.pyramid = Pyramid(config.channels, config.levels, config.steps, step, config.width)
        finest = round(math.log2(config.scale * config.unshuffle))
        self.features = nn.ModuleList(
            resolution_change(config.trunk_channels, finest - level - 1) for level in range(config.levels)
        )
        self.project = self.pyramid.projections([config.trunk_channels] * config.levels)

    def latent_shapes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """Return (channels, h, w) of every level's noise for an x of height x width."""
        return self.pyramid.latent_shapes(height * self.scale, width * self.scale)

    def _context(self, features: Tensor, shift: Tensor, raw_scale: Tensor) -> Context:
        levels = (project(change(features)) for change, project in zip(self.features, self.project, strict=True))
        return (torch.cat((shift, raw_scale), 1), *levels)

    def encode(self, x: Tensor) -> Context:
        """Return (B, 2C, H, W) of shift and log-scale, then (B, ., H / 2^l, W / 2^l) of every level."""
        return self._context(*self.encoder(x))

    def log_prob_given(self, y: Tensor, context: Context) -> Tensor:
        """Return log p(y|x), (B,), in nats (CNF equation 7)."""
        z, log_det = self.injector(y, context[0])
        eps, log_det_pyramid = self.pyramid(z, context[1:])
        return sum((standard_normal_log_prob(e) for e in eps), start=log_det + log_det_pyramid)

    def decode(self, eps: Latent, context: Context) -> Draws:
        """Return y and log p(y|x) gathered on the way, of noise (B, N, c, h, w) a level."""
        batch, samples = eps[0].shape[:2]
        flat, context = tuple(e.flatten(0, 1) for e in eps), per_sample(context, samples)
        z, log_det_pyramid = self.pyramid.inverse(flat, context[1:])
        y, log_det = self.injector.inverse(z, context[0])
        log_prob = sum((standard_normal_log_prob(e) for e in flat), start=-log_det - log_det_pyramid)
        return Draws(y.unflatten(0, (batch, samples)), log_prob.view(batch, samples))

    def _mean_error(self, y: Tensor, mean: Tensor) -> Tensor:
        return self.config.mean_weight * (y - mean).abs().flatten(1).mean(1)

    def loss(self, y: Tensor, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return bits per dimension of the dequantized y, plus the weighted error of the mean, (B,)."""
        features, shift, raw_scale = self.encoder(x)
        fixed = shift.detach() if self.config.mean_weight else shift
        log_prob = self.log_prob_given(uniform_dequantize(y, 256, generator), self._context(features, fixed, raw_scale))
        return bits_per_dim(log_prob, y[0].numel()) + self._mean_error(y, shift)

    def warm_loss(self, y: Tensor, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return the weighted error of the mean alone, or the loss when there is no mean to warm up, (B,)."""
        if not self.config.mean_weight:
            return self.loss(y, x, generator)
        return self._mean_error(y, self.encoder(x)[1])
