"""c-Glow: structured output learning with conditional generative flows."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

import torch
from torch import Tensor

from ..flows.actnorm import ActNorm
from ..flows.conditional_pyramid import ConditionalLevel, ConditionalPyramid
from ..flows.dequantize import uniform_dequantize
from ..flows.gaussian import Latent, standard_normal_log_prob
from ..flows.pyramid import Context
from ..flows.transform import total_constant
from ..images import bicubic_resize
from ..metrics.likelihood import bits_per_dim
from ..nets.conditioning import HALVINGS, Conditioner, LevelNeeds
from ..nets.encoder import Shift, guess_from
from .base import Density, Draws, SizeRule, per_sample


@dataclass(frozen=True)
class CGlowConfig:
    """Sizes of a c-Glow; the defaults are the paper's (section 5) where it gives them.

    ``size`` is that of x. ``window`` is the side of the unknown centre of y as a share of y's own, 1 or 1/2, 1/3, ...
    """

    scale: int = 1
    in_channels: int = 3
    channels: int = 3
    levels: int = 3
    steps: int = 8
    width: int = 256
    conditioning_channels: int = 64
    conditioning_width: int = 128
    coupling_channels: int = 16
    size: tuple[int, int] = (64, 64)
    pooled: bool = False
    shift: Shift = "none"
    window: float = 1.0
    target_levels: int = 256

    def __post_init__(self) -> None:
        if self.shift == "mean":
            raise ValueError("c-Glow has no trunk to predict a mean: shift is none or bicubic")
        if not 0 < self.window <= 1 or abs(self.parts * self.window - 1) > 1e-6:
            raise ValueError(f"a window of {self.window} is not 1 or 1/2, 1/3, ...")
        if self.pooled and self.parts > 1:
            raise ValueError("a window needs a fixed size")
        smallest = math.lcm(2**self.levels * self.parts, 2**HALVINGS)
        if not self.pooled and any(side * self.scale % smallest or side < 1 for side in self.size):
            raise ValueError(f"size {self.size} times the scale is not a multiple of {smallest}")

    @property
    def parts(self) -> int:
        """How many times the window's side goes into y's."""
        return round(1 / self.window)


class CGlow(Density):
    """p(y|x) = N(f(y; x); 0, I) |det df/dy| where the weights of every layer of f are made from x (c-Glow equation 1).

    x is brought to y's resolution; the conditioning networks of all steps see the whole of it, once, in ``encode``, so
    that ``reach`` has no bound. y minus its guess goes through one activation normalization, which takes over its unit,
    and the flow. The paper says no more of a split's prior than "as in Glow": it is Gaussian given the kept half, here
    given x, too. Grey levels are at their midpoints, binary y is 0 or 1; noise fills the cell around either, u ~
    U[-1/2, 1/2) in its own unit (section 4.2). With a window y is the whole image, and only its centre is a variable:
    outside y is x, and what is counted of it, the centre, stands for the whole.
    """

    Config = CGlowConfig

    def __init__(self, config: CGlowConfig) -> None:
        super().__init__()
        self.config = config
        self.scale, self.in_channels, self.channels = config.scale, config.in_channels, config.channels
        self.levels, self.parts = config.target_levels, config.parts
        self.cells = 1 if self.levels == 2 else self.levels
        unit = max(1, math.lcm(2**config.levels, 2**HALVINGS) // config.scale)
        self.size = SizeRule(multiple_of=unit, fixed=None if config.pooled else config.size)
        self.reach = sys.maxsize
        self.actnorm = ActNorm(config.channels)
        self.pyramid = ConditionalPyramid(config.channels, config.levels, config.steps, config.width)
        self.encoder = Conditioner(
            config.in_channels,
            [self._needs(level, 2**i * self.parts) for i, level in enumerate(self.pyramid.levels, 1)],
            config.conditioning_channels,
            config.conditioning_width,
            config.coupling_channels,
            None if config.pooled else (config.size[0] * config.scale, config.size[1] * config.scale),
        )
        for level, heads in zip(self.pyramid.levels, self.encoder.heads(), strict=True):
            level.heads = heads  # type: ignore[assignment]

    @staticmethod
    def _needs(level: torch.nn.Module, stride: int) -> LevelNeeds:
        assert isinstance(level, ConditionalLevel)
        return LevelNeeds(level.vector_groups, level.map_shares, stride)

    def _inside(self, height: int, width: int) -> tuple[int, int]:
        return height * self.scale // self.parts, width * self.scale // self.parts

    def _window(self, values: Tensor) -> Tensor:
        """Return the part of (B, C, H, W) that is a variable, as a view."""
        (height, width), parts = values.shape[-2:], self.parts
        rows, columns = ((side - side // parts) // 2 for side in (height, width))
        return values[..., rows : rows + height // parts, columns : columns + width // parts]

    def dims(self, height: int, width: int) -> int:
        """Return how many values of y are unknown given an x of height x width: those of the window."""
        return self.channels * math.prod(self._inside(height, width))

    def latent_shapes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """Return (channels, h, w) of every level's noise for an x of height x width."""
        return self.pyramid.latent_shapes(*self._inside(height, width))

    def encode(self, x: Tensor) -> Context:
        """Return the guess of y (B, C, H, W), then, of every level, (B, ., 1, 1) of vectors and every map (B, ., h, w).

        Raises ValueError for an x of another size than the fully connected layers take.
        """
        height, width = x.shape[-2:]
        if self.size.fixed not in (None, (height, width)):
            raise ValueError(f"x is {height} x {width} pixels, not {self.size.fixed}")
        shift = guess_from(x, self.channels, self.scale, "bicubic" if self.parts > 1 else self.config.shift)
        whole = bicubic_resize(x, (height * self.scale, width * self.scale)) if self.scale > 1 else x
        return (shift, *self.encoder(whole - 0.5))

    def log_prob_given(self, y: Tensor, context: Context) -> Tensor:
        """Return log p(y|x), (B,), in nats, of y or of what the window shows of it (c-Glow equation 1)."""
        z, log_det = self.actnorm(self._window(y - context[0]), context[0])
        eps, log_det_pyramid = self.pyramid(z, context[1:])
        return sum((standard_normal_log_prob(e) for e in eps), start=log_det + log_det_pyramid)

    def log_mass_given(self, y: Tensor, context: Context, generator: torch.Generator | None = None) -> Tensor:
        """Return log P(y|x) in nats, (B,), of a discrete y: its cell's volume times the density inside (section 4.2).

        Without a generator the density is the midpoint's; with one that of a point of the cell, a lower bound in mean.
        """
        v = y if generator is None else uniform_dequantize(y, self.cells, generator)
        cell = y.new_full((), -self.channels * math.log(self.cells))
        return self.log_prob_given(v, context) + total_constant(cell, self._window(y))

    def decode(self, eps: Latent, context: Context) -> Draws:
        """Return y and log p(y|x) gathered on the way, of noise (B, N, c, h, w) a level (c-Glow equation 2)."""
        batch, samples = eps[0].shape[:2]
        flat, context = tuple(e.flatten(0, 1) for e in eps), per_sample(context, samples)
        z, log_det_pyramid = self.pyramid.inverse(flat, context[1:])
        residual, log_det = self.actnorm.inverse(z, context[0])
        log_prob = sum((standard_normal_log_prob(e) for e in flat), start=-log_det - log_det_pyramid)
        y = context[0].expand(batch * samples, -1, -1, -1).clone(memory_format=torch.channels_last)
        self._window(y).add_(residual)
        return Draws(y.unflatten(0, (batch, samples)), log_prob.view(batch, samples))

    def loss(self, y: Tensor, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return bits per unknown dimension of the dequantized y, (B,)."""
        log_mass = self.log_mass_given(y, self.encode(x), generator)
        return bits_per_dim(log_mass, self.dims(x.shape[-2], x.shape[-1]), levels=1)

    def predict(self, x: Tensor, samples: int = 10, temperature: float = 1.0, seed: int = 0) -> Tensor:
        """Return the mean of samples, (B, C, H, W), a binary one rounded to 0 or 1 (c-Glow equation 4)."""
        mean = self.sample(x, samples, temperature, seed).y.mean(1)
        return (mean > 0.5).to(mean.dtype) if self.levels == 2 else mean
