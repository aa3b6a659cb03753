"""TIM: a tower implicit model trained by conditional IMLE; it has no likelihood."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..device import to_device
from ..flows.gaussian import Latent, NoiseField
from ..flows.pyramid import Context
from ..images import bicubic_resize
from ..metrics.perceptual import make_distance
from ..nets.mapping import MappingNet
from ..nets.tower import State, TowerInputs, TowerModule
from .base import Corner, Draws, Sampler, SizeRule, per_sample

# Pixels of candidates that are tried at once, so that 120 large ones fit an accelerator's memory.
_AT_ONCE = 2**20


@dataclass(frozen=True)
class TIMConfig:
    """Sizes of a TIM, lowest module first; the paper gives none, these are its authors' released code's.

    ``draws`` are the codes tried for each module in training. ``hierarchical``, ``mapping_dim`` = 0, ``intermediate``
    and ``weight_norm`` take away what the ablation does (table 5). ``distance`` is LPIPS in the paper.
    """

    scale: int = 16
    in_channels: int = 3
    channels: int = 3
    residual_channels: tuple[int, ...] = (128, 64, 64, 64)
    dense_channels: tuple[int, ...] = (256, 192, 128, 64)
    blocks: int = 6
    code_channels: int = 5
    mapping_dim: int = 128
    mapping_width: int = 512
    mapping_layers: int = 8
    weight_norm: bool = True
    intermediate: bool = True
    hierarchical: bool = True
    draws: tuple[int, ...] = (120, 120, 120, 120)
    distance: Literal["multiscale", "lite0", "lpips"] = "lpips"

    def __post_init__(self) -> None:
        """Raise ValueError unless every module has its sizes and the distance can compare what they make."""
        lengths = {len(self.residual_channels), len(self.dense_channels), len(self.draws)}
        if len(lengths) > 1 or not self.draws or min(self.draws) < 1:
            raise ValueError("residual_channels, dense_channels and draws need one positive number a module each")
        if self.channels != 3 and self.distance != "multiscale":
            raise ValueError(f"the distance {self.distance} compares 3 channels, not {self.channels}: use multiscale")


class Nearest(NamedTuple):
    """The codes (B, 1, c, h, w) a level nearest to y, their distance (B,), and the runs of each module for an image."""

    codes: Latent
    distance: Tensor
    evaluations: tuple[int, ...]


def receptive_field(config: TIMConfig) -> int:
    """Return how many pixels of x away a value can influence y: all modules' convolutions and resizings in a row."""
    modules = len(config.draws)
    units = [2.0 ** (modules - 1 - k) / config.scale for k in range(modules)]
    convolutions, enlarging = 15 * config.blocks + 4, 3
    return math.ceil(sum((convolutions + enlarging) * unit for unit in units) + 3 * max(1.0, units[0])) + 1


@cache
def distance_on(name: str, device: torch.device) -> nn.Module:
    """Return the distance of that name on a device; no model holds it, so that no weight carries it."""
    return make_distance(name).to(device)


class TIM(Sampler):
    """y = f(x, z), z ~ N(0, I): modules of doubling resolution, each given x, a code and what is below (TIM section 4).

    The context is, for every module, the picture its answer is added to and what its first convolution makes of x. The
    noise is, for every module, a code at its resolution and, with a mapping network, a vector for the whole image.
    """

    Config = TIMConfig

    def __init__(self, config: TIMConfig) -> None:
        super().__init__()
        self.config = config
        self.scale, self.in_channels, self.channels = config.scale, config.in_channels, config.channels
        shrunk = 2 ** (len(config.draws) - 1)
        self.size = SizeRule(multiple_of=shrunk // math.gcd(shrunk, config.scale))
        self.reach = receptive_field(config)
        widths = config.residual_channels
        self.encoder = TowerInputs(config.scale, config.in_channels, config.channels, widths, config.weight_norm)
        self.tower = nn.ModuleList(
            TowerModule(
                config.code_channels,
                lower,
                width,
                growth,
                config.blocks,
                config.channels,
                self._mapping(width),
                config.weight_norm,
            )
            for lower, width, growth in zip((0, *widths), widths, config.dense_channels, strict=False)
        )

    def _mapping(self, width: int) -> MappingNet | None:
        c, styles = self.config, 2 * width * self.config.blocks
        return MappingNet(c.mapping_dim, c.mapping_width, c.mapping_layers, styles) if c.mapping_dim else None

    @property
    def _each(self) -> int:
        return 2 if self.config.mapping_dim else 1

    def latent_shapes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """Return every module's (code_channels, h, w), and after it (mapping_dim, 1, 1) if it has a mapping network."""
        vector = [(self.config.mapping_dim, 1, 1)] * (self._each - 1)
        sizes = self.encoder.sizes(height, width)
        return [shape for h, w in sizes for shape in ((self.config.code_channels, h, w), *vector)]

    def noise(
        self, x_size: Corner, samples: Sequence[int], temperature: float, seed: int, corner: Corner = (0, 0)
    ) -> Latent:
        """Return temperature * N(0, I) as every model does, but the vectors are the image's in each of its tiles."""
        shapes = self.latent_shapes(*x_size)
        corners = [
            (0, 0) if at % self._each else (corner[0] * h // x_size[0], corner[1] * w // x_size[1])
            for at, (_, h, w) in enumerate(shapes)
        ]
        return tuple(temperature * eps for eps in NoiseField(seed).latent(samples, shapes, corners))

    def encode(self, x: Tensor) -> Context:
        """Return (B, C, H_k, W_k) and (B, width_k, H_k, W_k) of every module k, lowest first."""
        context: Context = self.encoder(x)
        return context

    def decode(self, eps: Latent, context: Context) -> Draws:
        """Return y of noise (B, N, c, h, w) a level, and no log-density: this model has none."""
        batch, samples = eps[0].shape[:2]
        context = per_sample(context, samples)
        *_, (_, answer) = self.climb(tuple(e.flatten(0, 1) for e in eps), context)
        return Draws((context[-2] + answer).unflatten(0, (batch, samples)), None)

    def climb(self, codes: Latent, context: Context, first: int = 0, below: State | None = None) -> list[State]:
        """Return what the modules from ``first`` on make of ``below``, as many as there are codes (B, c, h, w) for."""
        states: list[State] = []
        for at in range(len(codes) // self._each):
            hidden, own = context[2 * (first + at) + 1], codes[self._each * at : self._each * (at + 1)]
            below = self.tower[first + at](hidden, own, below)
            states.append(below)
        return states

    def distance(self, states: Sequence[State], context: Context, targets: Sequence[Tensor], first: int = 0) -> Tensor:
        """Return d, (B,): the sum over the modules from ``first`` on of their pictures' distances to the targets.

        Without intermediate supervision it is that of the last module alone (TIM section 4.1).
        """
        measure = distance_on(self.config.distance, targets[0].device)
        found: list[Tensor] = []
        for level, (_, answer) in enumerate(states, first):
            if self.config.intermediate or level == first + len(states) - 1:
                picture, target = context[2 * level] + answer, targets[level]
                found.append(measure(picture, target.repeat_interleave(len(picture) // len(target), 0)))
        return torch.stack(found).sum(0)

    def targets(self, y: Tensor, x: Tensor) -> list[Tensor]:
        """Return y (B, C, H, W) at every module's size, lowest first."""
        sizes = self.encoder.sizes(x.shape[-2], x.shape[-1])
        return [y if size == y.shape[-2:] else bicubic_resize(y, size) for size in sizes]

    def nearest(
        self, y: Tensor, x: Tensor, draws: Sequence[int], generator: torch.Generator, hierarchical: bool = True
    ) -> Nearest:
        """Return the codes among random ones whose picture is nearest to y (B, C, H, W) (TIM section 4.2).

        Hierarchically ``draws[k]`` codes of module k are tried on top of the chosen ones below it, each judged by
        module k's own picture; otherwise ``draws[-1]`` codes of all modules at once, judged by d.
        Raises ValueError unless there is a number of draws for each module.
        """
        return self._nearest(self.targets(y, x), self.encode(x), draws, generator, hierarchical)

    @torch.no_grad()
    def _nearest(
        self,
        targets: Sequence[Tensor],
        context: Context,
        draws: Sequence[int],
        generator: torch.Generator,
        hierarchical: bool,
    ) -> Nearest:
        modules, every = len(self.tower), range(len(self.tower))
        stages = [range(k, k + 1) for k in every] if hierarchical else [every]
        counts = list(draws) if hierarchical else list(draws[-1:])
        codes: list[Tensor] = []
        distances: list[Tensor] = []
        below: State | None = None
        with parametrize.cached():
            for stage, count in zip(stages, counts, strict=True):
                distance, *found, features, answer = self._closest(stage, count, targets, context, below, generator)
                below = features, answer
                codes += found
                distances.append(distance)
        d = torch.stack(distances).sum(0) if self.config.intermediate else distances[-1]
        evaluations = tuple(counts) if hierarchical else modules * tuple(counts)
        return Nearest(tuple(code[:, None] for code in codes), d, evaluations)

    def _closest(
        self,
        stage: range,
        count: int,
        targets: Sequence[Tensor],
        context: Context,
        below: State | None,
        generator: torch.Generator,
    ) -> list[Tensor]:
        """Return, of ``count`` codes of a stage's modules, the distance, codes, features and answer of the nearest."""
        batch, largest = len(targets[0]), targets[stage[-1]]
        at_once = max(1, _AT_ONCE // (batch * largest.shape[-2] * largest.shape[-1]))
        kept: list[list[Tensor]] = []
        for start in range(0, count, at_once):
            some = min(at_once, count - start)
            codes = self._candidates(stage, batch * some, targets, generator)
            base = None if below is None else (below[0].repeat_interleave(some, 0), below[1].repeat_interleave(some, 0))
            repeated = per_sample(context, some)
            states = self.climb(codes, repeated, stage[0], base)
            kept.append(first_of([self.distance(states, repeated, targets, stage[0]), *codes, *states[-1]], some))
        rounds = [torch.stack(values, 1).flatten(0, 1) for values in zip(*kept, strict=True)]
        return first_of(rounds, len(kept))

    def _candidates(self, stage: range, count: int, targets: Sequence[Tensor], generator: torch.Generator) -> Latent:
        """Return ``count`` random codes of a stage's modules, drawn where the generator is."""
        like, c = targets[0], self.config
        shapes: list[tuple[int, ...]] = []
        for level in stage:
            shapes += [(c.code_channels, *targets[level].shape[-2:]), (c.mapping_dim, 1, 1)][: self._each]
        drawn = (torch.randn(count, *s, generator=generator, dtype=like.dtype, device=generator.device) for s in shapes)
        return tuple(to_device(codes, like.device) for codes in drawn)

    def loss(self, y: Tensor, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return min over codes z of d(f(x, z), y), (B,): conditional IMLE (TIM section 3), the codes drawn anew."""
        targets, context, c = self.targets(y, x), self.encode(x), self.config
        found = self._nearest(targets, context, c.draws, generator, c.hierarchical)
        states = self.climb(tuple(code[:, 0] for code in found.codes), context)
        return self.distance(states, context, targets)


def first_of(values: Sequence[Tensor], candidates: int) -> list[Tensor]:
    """Return each of the values (B * candidates, ...) at the candidate of each image whose first value is smallest."""
    order = values[0].unflatten(0, (-1, candidates))
    chosen = order.argmin(1) + candidates * torch.arange(len(order), device=order.device)
    return [value[chosen] for value in values]
