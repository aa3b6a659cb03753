"""CNF: learning likelihoods with conditional normalizing flows."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..flows.dequantize import uniform_dequantize
from ..flows.gaussian import Latent, standard_normal_log_prob
from ..flows.injector import AffineInjector
from ..flows.pyramid import Context, Pyramid, affine_step
from ..flows.transform import held, total, variable
from ..metrics.likelihood import bits_per_dim
from ..nets.encoder import Encoder, Shift
from ..nets.pyramid import resolution_change
from ..nets.vgg import UNet
from .base import Density, Draws, SizeRule, per_sample

_LOG_SCALE_CENTRE = -4.0


@dataclass(frozen=True)
class CNFConfig:
    """Sizes of a CNF; the defaults are the paper's (section 5.1) where it gives them.

    ``depth`` > 0 makes the trunk a U-Net that goes so many halvings down, with ``blocks`` residual blocks a resolution
    and direction. With ``hole`` the last channel of x is 1 where y is unknown; elsewhere y is x.
    """

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
    depth: int = 0
    hole: bool = False
    shift: Shift = "none"
    scale_bound: float = 1.0
    shift_bound: float = 4.0
    mean_weight: float = 0.0
    spread: float = 1.0

    def __post_init__(self) -> None:
        if self.depth and self.growth:
            raise ValueError("a trunk of some depth has plain residual blocks: growth must be 0")
        if self.hole and (self.scale != 1 or self.in_channels <= self.channels):
            raise ValueError("a hole needs a scale of 1 and a channel of x beside those of y")


def receptive_field(config: CNFConfig) -> int:
    """Return how many pixels of x away a value can influence y: all 3x3 convolutions one after another."""
    if config.depth:
        convolutions = UNet.reach_of(config.depth, config.blocks) + 1
    else:
        convolutions = 3 + config.blocks * (15 if config.growth else 2)
    trunk = convolutions * config.unshuffle + config.unshuffle - 1
    flow: int = sum((2 * config.steps + 4) * 2**level for level in range(1, config.levels + 1))
    return trunk + -(-flow // config.scale)


class CNF(Density):
    """p(y|x) = N(f(y; x); 0, I) |det df/dy| with f = Pyramid((y - shift(x)) / scale(x)) (CNF equation 7).

    The context is shift and log-scale at y's resolution, then, for every level, what the first convolutions of its
    coupling nets make of x. With ``mean_weight`` > 0 the shift is a mean trained by its absolute error beside the
    likelihood, which does not reach it: an exact shift, log-det 0. ``spread`` widens p around the shift by a factor
    that is fitted after training (cflowtool.calibrate).

    With a ``hole`` only the blocks of 2^L x 2^L pixels that it touches are variables. Every other value counts as
    spread evenly over its own cell of 1 / 256, which adds log 256 to log p and 0 bits to the bits per dimension.
    """

    Config = CNFConfig

    def __init__(self, config: CNFConfig) -> None:
        super().__init__()
        self.config = config
        self.scale, self.in_channels, self.channels = config.scale, config.in_channels, config.channels
        finest_block = config.unshuffle * 2**config.depth
        self.size = SizeRule(multiple_of=max(finest_block, 2**config.levels // config.scale))
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
            config.depth,
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

    def _encoded(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features, shift, raw_scale = self.encoder(x)
        if self.config.hole:
            shift = torch.where(x[:, -1:] > 0.5, shift, x[:, : self.channels])
        return features, shift, raw_scale

    def _context(self, x: Tensor, features: Tensor, shift: Tensor, raw_scale: Tensor) -> Context:
        levels = (project(change(features)) for change, project in zip(self.features, self.project, strict=True))
        unknown = (self._unknown(x),) if self.config.hole else ()
        return (torch.cat((shift, raw_scale), 1), *levels, *unknown)

    def _unknown(self, x: Tensor) -> Tensor:
        """Return which of the flow's coarsest blocks the hole touches, (B, 1, h / 2^L, w / 2^L) of 0 and 1."""
        return F.max_pool2d((x[:, -1:] > 0.5).to(x), 2**self.config.levels)

    def _variable(self, context: Context) -> AbstractContextManager[None]:
        return variable(context[-1]) if self.config.hole else nullcontext()

    def _log_prob_of_known(self, context: Context, batch: int) -> Tensor:
        """Return the log-density of what is known, (B,): each value is uniform over its cell of 1 / levels."""
        if not self.config.hole:
            return context[0].new_zeros(batch)
        known = 1 - F.interpolate(context[-1], context[0].shape[-2:])
        return self.channels * math.log(self.levels) * total(known, batch)

    def encode(self, x: Tensor) -> Context:
        """Return (B, 2C, H, W) of shift and log-scale, (B, ., H / 2^l, W / 2^l) of every level, and the blocks that
        are unknown if there is a hole."""
        return self._context(x, *self._encoded(x))

    def log_prob_given(self, y: Tensor, context: Context) -> Tensor:
        """Return log p(y|x), (B,), in nats (CNF equation 7)."""
        with self._variable(context):
            z, log_det = self.injector(y, context[0])
            eps, log_det_pyramid = self.pyramid(held(z), self._of_levels(context))
            log_prob = sum((standard_normal_log_prob(e) for e in eps), start=log_det + log_det_pyramid)
        return log_prob + self._log_prob_of_known(context, y.shape[0])

    def _of_levels(self, context: Context) -> Context:
        return context[1 : 1 + self.config.levels]

    def decode(self, eps: Latent, context: Context) -> Draws:
        """Return y and log p(y|x) gathered on the way, of noise (B, N, c, h, w) a level."""
        batch, samples = eps[0].shape[:2]
        flat, context = tuple(e.flatten(0, 1) for e in eps), per_sample(context, samples)
        with self._variable(context):
            z, log_det_pyramid = self.pyramid.inverse(flat, self._of_levels(context))
            y, log_det = self.injector.inverse(held(z), context[0])
            log_prob = sum((standard_normal_log_prob(e) for e in flat), start=-log_det - log_det_pyramid)
        log_prob = log_prob + self._log_prob_of_known(context, batch * samples)
        return Draws(y.unflatten(0, (batch, samples)), log_prob.view(batch, samples))

    def _a_variable(self, per_value: Tensor, x: Tensor) -> Tensor:
        """Return what was averaged over all values, (B,), as an average over the variables: known ones add nothing."""
        if not self.config.hole:
            return per_value
        return per_value / self._unknown(x).flatten(1).mean(1).clamp_min(1 / x[0, 0].numel())

    def _mean_error(self, y: Tensor, mean: Tensor) -> Tensor:
        return self.config.mean_weight * (y - mean).abs().flatten(1).mean(1)

    def loss(self, y: Tensor, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return bits per unknown dimension of the dequantized y, plus the weighted error of the mean, (B,)."""
        features, shift, raw_scale = self._encoded(x)
        context = self._context(x, features, shift.detach() if self.config.mean_weight else shift, raw_scale)
        log_prob = self.log_prob_given(uniform_dequantize(y, 256, generator), context)
        return self._a_variable(bits_per_dim(log_prob, y[0].numel()) + self._mean_error(y, shift), x)

    def warm_loss(self, y: Tensor, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return the weighted error of the mean alone, or the loss when there is no mean to warm up, (B,)."""
        if not self.config.mean_weight:
            return self.loss(y, x, generator)
        return self._a_variable(self._mean_error(y, self._encoded(x)[1]), x)
