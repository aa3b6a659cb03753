"""What all models can do: encode x once, decode noise many times, and, when they are densities, say log p(y|x)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from ..errors import NoLikelihood
from ..flows.conditional_pyramid import ConditionalLevel
from ..flows.dequantize import uniform_dequantize
from ..flows.gaussian import Latent, NoiseField
from ..flows.injected import InjectedSteps
from ..flows.pyramid import Chain, Context
from ..flows.transform import total_constant
from ..nets.prepared import Preparable
from ..nets.recompute import Thrifty

Corner = tuple[int, int]


@dataclass(frozen=True)
class SizeRule:
    """Which sizes of x a model takes: height and width at least ``minimum`` and multiples of ``multiple_of``."""

    minimum: int = 1
    multiple_of: int = 1
    fixed: tuple[int, int] | None = None


@dataclass(frozen=True)
class Draws:
    """N samples of each of B images: y (B, N, C, H, W) and log p(y|x) in nats (B, N), or None without a likelihood."""

    y: Tensor
    log_prob: Tensor | None

    def order(self) -> Tensor:
        """Return (B, N), the samples' indices from the most to the least likely; raise NoLikelihood without one."""
        if self.log_prob is None:
            raise NoLikelihood("this model has no likelihood to rank samples by", "choose a model that is a density")
        return self.log_prob.argsort(dim=1, descending=True, stable=True)

    def ranked(self) -> Draws:
        """Return the same samples, most likely first; raise NoLikelihood when there is none."""
        order = self.order()
        assert self.log_prob is not None
        index = order[:, :, None, None, None].expand_as(self.y)
        return Draws(self.y.gather(1, index), self.log_prob.gather(1, order))


class Sampler(nn.Module):
    """A conditional generative model: noise eps and x to y. All four papers are this much.

    x has ``in_channels`` channels, y ``channels`` and ``scale`` times its size; what is more than ``reach`` pixels of x
    away has no influence on y.
    """

    Config: ClassVar[type[Any]]
    size: SizeRule
    scale: int
    reach: int
    in_channels: int = 3
    channels: int = 3

    def dims(self, height: int, width: int) -> int:
        """Return how many values of y are unknown given an x of height x width: what bits per dimension divide by."""
        return self.channels * height * width * self.scale**2

    def encode(self, x: Tensor) -> Context:
        """Return everything that depends on x (B, C, h, w) alone: heavy, once per image."""
        raise NotImplementedError

    def prepare(self) -> Self:
        """Make once what encode, decode and log_prob need of the parameters alone, for a model that is used.

        Results are the same to rounding. Training, or other changes of the parameters, make it void.
        """
        self.eval()
        # What is inside comes first: chains of transforms are made of what these have made.
        for module in reversed(list(self.modules())):
            if isinstance(module, Preparable):
                module.prepare()
        return self

    def recompute(self, on: bool = True) -> Self:
        """Let training find a flow's activations again by its inverse, and other networks' by computing them again.

        Gradients are the same to rounding; memory does not grow with what a flow's steps compute.
        """
        chains = [module for module in self.modules() if isinstance(module, Chain | ConditionalLevel | InjectedSteps)]
        inner = {id(module) for chain in chains for module in chain.modules() if module is not chain}
        for chain in chains:
            chain.recompute = on and id(chain) not in inner
        for module in self.modules():
            if isinstance(module, Thrifty):
                module.recompute = on
        return self

    def latent_shapes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """Return (channels, h, w) of every level's noise for an x of height x width."""
        raise NotImplementedError

    def decode(self, eps: Latent, context: Context) -> Draws:
        """Return samples from noise (B, N, c, h, w) a level: light, all samples as one batch."""
        raise NotImplementedError

    def loss(self, y: Tensor, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return what this paper minimises for y (B, C, H, W) given x, one number an image, (B,)."""
        raise NotImplementedError

    def warm_loss(self, y: Tensor, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return what to minimise in the first steps, (B,): by default the loss itself."""
        return self.loss(y, x, generator)

    def noise(
        self, x_size: Corner, samples: Sequence[int], temperature: float, seed: int, corner: Corner = (0, 0)
    ) -> Latent:
        """Return temperature * N(0, I) of the samples' indices, (N, c, h, w) a level, for x or its tile at ``corner``.

        Sample k's noise depends on the seed, k and the position alone.
        """
        shapes = self.latent_shapes(*x_size)
        corners = [(corner[0] * h // x_size[0], corner[1] * w // x_size[1]) for _, h, w in shapes]
        return tuple(temperature * eps for eps in NoiseField(seed).latent(samples, shapes, corners))

    @torch.no_grad()
    def sample(self, x: Tensor, n: int, temperature: float, seed: int, start: int = 0) -> Draws:
        """Return samples start .. start + n - 1 of each image x (B, C, h, w); x is encoded once.

        Sample k depends on the weights, x, the seed and k only. log_prob is that of the temperature-1 model.
        """
        latent = self.noise((x.shape[-2], x.shape[-1]), range(start, start + n), temperature, seed)
        eps = tuple(e.to(x).expand(x.shape[0], *e.shape) for e in latent)
        return self.decode(eps, self.encode(x))


class Density(Sampler):
    """A sampler that knows the probability density of what it samples.

    Discrete y has ``levels`` levels; ``variational`` says that a learned q(v|y, x) spreads each over its cell.
    """

    levels: int = 256
    variational: bool = False

    def log_prob(self, y: Tensor, x: Tensor) -> Tensor:
        """Return log p(y|x) in nats, (B,), of y (B, C, H, W) in units where the pixel range is [0, 1]."""
        return self.log_prob_given(y, self.encode(x))

    def log_prob_given(self, y: Tensor, context: Context) -> Tensor:
        """Return log p(y|x), (B,), of an x that is encoded already (a context of batch 1 serves every y)."""
        raise NotImplementedError

    def log_mass_given(self, y: Tensor, context: Context, generator: torch.Generator | None = None) -> Tensor:
        """Return log P(y|x) in nats, (B,), of a discrete y: its cell's volume times the density at the midpoint.

        With a generator the density is taken where noise of it falls in the cell, whose mean is a lower bound.
        """
        v = y if generator is None else uniform_dequantize(y, self.levels, generator)
        cell = y.new_full((), -y.shape[1] * math.log(self.levels))
        return self.log_prob_given(v, context) + total_constant(cell, y)


def per_sample(context: Context, samples: int) -> Context:
    """Repeat each image's context for its samples; a single image's is left to broadcasting."""
    if samples == 1 or context[0].shape[0] == 1:
        return context
    return tuple(entry.repeat_interleave(samples, 0) for entry in context)
