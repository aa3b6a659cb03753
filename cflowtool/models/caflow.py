"""CAFLOW: conditional autoregressive flows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ..flows.autoregressive import Component, ConditionalBlock
from ..flows.dequantize import VariationalDequantizer, standard_normal, uniform_dequantize
from ..flows.gaussian import Latent, standard_normal_log_prob
from ..flows.injector import AffineInjector
from ..flows.multiscale import MultiScale
from ..flows.pyramid import Context
from ..metrics.likelihood import bits_per_dim
from ..nets.encoder import Shift, guess_from
from ..nets.multiresolution import MultiResolutionEncoder
from .base import Density, Draws, SizeRule, per_sample

_LOG_SCALE_CENTRE = -4.0


@dataclass(frozen=True)
class CAFLOWConfig:
    """Sizes of a CAFLOW; the defaults are the paper's for super-resolution (appendix B.1).

    ``factorization`` is the paper's, P(L_i | L_<i, D_<=i), or that of DUAL-GLOW, P(L_i | D_i) (section 3.1). The paper
    has no trunk: without ``trunk_channels`` nothing centres and scales y but a bicubic ``shift``.
    """

    scale: int = 4
    in_channels: int = 3
    channels: int = 3
    scales: int = 3
    condition_steps: int = 16
    target_steps: int = 32
    steps: int = 12
    width: int = 64
    conditional_width: int = 32
    regularization: float = 0.01
    factorization: Literal["autoregressive", "dual-glow"] = "autoregressive"
    shared: bool = False
    dequantization: Literal["uniform", "variational"] = "variational"
    dequantization_steps: int = 4
    shift: Shift = "none"
    scale_bound: float = 1.0
    shift_bound: float = 4.0
    trunk_channels: int = 0
    mean_weight: float = 0.0
    spread: float = 1.0

    def __post_init__(self) -> None:
        """Raise ValueError for a learned mean without a trunk to predict it, and for a trained one that is not used."""
        if self.shift == "mean" and not self.trunk_channels:
            raise ValueError("without trunk_channels there is no mean to learn: shift is none or bicubic")
        if self.mean_weight and self.shift != "mean":
            raise ValueError(f"mean_weight trains the mean, and shift is {self.shift}")


def receptive_field(config: CAFLOWConfig, trunk_reach: int = 0) -> int:
    """Return how many pixels of x away a value can influence y: every convolution one after another."""
    net, tail = 2, 1  # a coupling's or an injector's two 3x3 convolutions; what a squeeze reaches to one side
    scales = range(1, config.scales + 1)
    unconditional: int = sum((net * (config.condition_steps + config.target_steps) + 2 * tail) * 2**s for s in scales)
    block = net * (config.steps + 1) + tail
    blocks: int = sum(block * 2 ** (s + 1) for i in scales for s in range(i, config.scales + 1))
    return 2 + -(-(unconditional + blocks + trunk_reach) // config.scale)


class CAFLOW(Density):
    """log p(w|y) = log|det dT/dw| + sum_i log p(F_i(l_i; l_<i, d_<=i)) + log|det dF_i/dl_i| (CAFLOW equation 9).

    Here y is what the paper calls W and x, brought to y's size, what it calls Y. R(x) = (d_{n-1}, ..., d_0) and
    T(y) = (l_{n-1}, ..., l_0). ``shared`` makes the f_j^i with i > j one (appendix D): 2n - 1 blocks instead of
    n (n + 1) / 2. The context is the shift, what every block makes of d_j, and what the dequantizer makes of x.

    With a trunk T models (y - shift(x)) / scale(x), and the blocks see features of x beside d_j, at its resolution.
    With ``mean_weight`` > 0 the shift is a mean trained by its absolute error beside the likelihood, which does not
    reach it. ``spread`` widens p around the shift by a factor that is fitted after training.
    """

    Config = CAFLOWConfig

    def __init__(self, config: CAFLOWConfig) -> None:
        super().__init__()
        self.config = config
        self.scale, self.in_channels, self.channels = config.scale, config.in_channels, config.channels
        self.size = SizeRule(multiple_of=max(1, 2 ** (config.scales + 1) // config.scale))
        self.encoder = self._trunk() if config.trunk_channels else None
        self.reach = receptive_field(config, self.encoder.reach if self.encoder else 0)
        self.variational = config.dequantization == "variational"
        bounds = config.scale_bound, config.shift_bound
        make = config.scales, config.condition_steps, config.width, *bounds
        self.condition_flow = MultiScale(config.in_channels, *make)
        make = config.scales, config.target_steps, config.width, *bounds
        self.target_flow = MultiScale(config.channels, *make)
        self.components = nn.ModuleList(Component(blocks) for blocks in self._blocks())
        if self.variational:
            self.dequantizer = VariationalDequantizer(
                config.channels, config.in_channels, config.dequantization_steps, config.conditional_width
            )

    def _trunk(self) -> MultiResolutionEncoder:
        config = self.config
        self.injector = AffineInjector(config.channels, _LOG_SCALE_CENTRE)
        self.injector.log_spread = math.log(config.spread)
        return MultiResolutionEncoder(
            config.in_channels, config.channels, config.trunk_channels, config.scales, config.shift
        )

    def _blocks(self) -> list[list[ConditionalBlock]]:
        """Return the blocks of F_{n-1}, ..., F_0, each from its own scale down; latents run from fine to coarse."""
        config, latent = self.config, self.target_flow.widths
        d = [width + config.trunk_channels for width in self.condition_flow.widths]
        make = config.steps, config.conditional_width, config.scale_bound, config.shift_bound
        shared: dict[int, ConditionalBlock] = {}
        found: list[list[ConditionalBlock]] = []
        for own in range(config.scales):
            channels, blocks = latent[own], [ConditionalBlock(latent[own], d[own], 0, *make)]
            lower = range(own + 1, config.scales) if config.factorization == "autoregressive" else ()
            for j in lower:
                channels *= 2  # four times by the squeeze, half by the split
                block = shared.get(j) or ConditionalBlock(channels, d[j], latent[j], *make)
                if config.shared:
                    shared[j] = block
                blocks.append(block)
            found.append(blocks)
        return found

    def _shapes(self, own: int, height: int, width: int) -> list[tuple[int, int, int]]:
        channels, h, w = self.target_flow.latent_shapes(height, width)[own]
        count = len(self.components[own].blocks)  # type: ignore[arg-type]
        rows = []
        for k in range(count):
            channels, h, w = 4 * channels, h // 2, w // 2
            if k < count - 1:
                channels //= 2
            rows.append((channels, h, w))
        return rows

    def latent_shapes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """Return (channels, h, w) of the noise of F_{n-1}, ..., F_0, each fine to coarse, for x of height x width."""
        size = height * self.scale, width * self.scale
        return [shape for own in range(self.config.scales) for shape in self._shapes(own, *size)]

    def _at_target_size(self, x: Tensor) -> Tensor:
        return guess_from(x, self.in_channels, self.scale, "bicubic")

    def _known(self, x: Tensor, d: Latent) -> Context:
        """Return the context of x at y's size and its latents d, the finest first."""
        if self.encoder is None:
            entries = [guess_from(x, self.channels, 1, self.config.shift)]
        else:
            features, *guess = self.encoder(x)
            entries = [torch.cat(guess, 1)]
            d = tuple(torch.cat(pair, 1) for pair in zip(d, features, strict=True))
        for own, component in enumerate(self.components):
            blocks: list[ConditionalBlock] = list(component.blocks)  # type: ignore[arg-type]
            entries += [block.known(part) for block, part in zip(blocks, d[own:], strict=False)]
        if self.variational:
            entries.append(self.dequantizer.condition(x))
        return tuple(entries)

    def encode(self, x: Tensor) -> Context:
        """Return the shift (B, C, H, W), with a trunk the raw log-scale behind it (B, 2C, H, W), every block's share of
        the context and, if there is one, the dequantizer's."""
        full = self._at_target_size(x)
        return self._known(full, self.condition_flow(full - 0.5)[0])

    def _of(self, context: Context) -> list[Context]:
        """Return the blocks' entries of the context, component by component."""
        counts = [len(component.blocks) for component in self.components]  # type: ignore[arg-type]
        starts = [1 + sum(counts[:k]) for k in range(len(counts))]
        return [context[start : start + count] for start, count in zip(starts, counts, strict=True)]

    def component_log_prob(self, own: int, latent: Latent, known: Context) -> Tensor:
        """Return log P(l_i | l_<i, d_<=i), (B,), with i = n - 1 - ``own``, of ``latent`` = (l_{n-1}, ..., l_0)."""
        component = self.components[own]
        lower = latent[own : own + len(known)]
        eps, log_det = component(lower[0], known, lower)
        return sum((standard_normal_log_prob(e) for e in eps), start=log_det)

    def log_prob_given(self, y: Tensor, context: Context) -> Tensor:
        """Return log p(y|x), (B,), in nats (CAFLOW equation 9)."""
        z, log_det_scale = self._centred(y, context[0])
        latent, log_det = self.target_flow(z)
        terms = (self.component_log_prob(own, latent, known) for own, known in enumerate(self._of(context)))
        return sum(terms, start=log_det + log_det_scale)

    def _centred(self, y: Tensor, guess: Tensor) -> tuple[Tensor, Tensor]:
        if self.encoder is None:
            return y - guess, y.new_zeros(y.shape[0])
        centred: tuple[Tensor, Tensor] = self.injector(y, guess)
        return centred

    def _uncentred(self, z: Tensor, guess: Tensor) -> tuple[Tensor, Tensor]:
        if self.encoder is None:
            return z + guess, z.new_zeros(z.shape[0])
        return self.injector.inverse(z, guess)

    def log_mass_given(self, y: Tensor, context: Context, generator: torch.Generator | None = None) -> Tensor:
        """Return log P(y|x), (B,), of a discrete y: log p(v|x) - log q(v|y, x) at noise of the generator.

        Without a generator the noise is always the same; with uniform dequantization it is then none.
        """
        if not self.variational:
            return super().log_mass_given(y, context, generator)
        v, log_q = self.dequantizer(y, standard_normal(y, generator), context[-1])
        bound: Tensor = self.log_prob_given(v, context) - log_q
        return bound

    def decode(self, eps: Latent, context: Context) -> Draws:
        """Return y and log p(y|x) gathered on the way, of noise (B, N, c, h, w) a scale: G_0, ..., G_{n-1}, T^-1."""
        batch, samples = eps[0].shape[:2]
        flat, context = tuple(e.flatten(0, 1) for e in eps), per_sample(context, samples)
        log_prob = sum((standard_normal_log_prob(e) for e in flat), start=flat[0].new_zeros(batch * samples))
        latent: Latent = ()
        rest = flat
        for component, known in zip(reversed(self.components), reversed(self._of(context)), strict=True):
            rest, own = rest[: -len(known)], rest[-len(known) :]
            lower = (own[0], *latent)[: len(known)]
            found, log_det = component.inverse(own, known, lower)  # type: ignore[operator]
            log_prob, latent = log_prob - log_det, (found, *latent)
        z, log_det = self.target_flow.inverse(latent)
        y, log_det_scale = self._uncentred(z, context[0])
        return Draws(y.unflatten(0, (batch, samples)), (log_prob - log_det - log_det_scale).view(batch, samples))

    def loss(self, y: Tensor, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return -(log P(y|x) + lambda log p(x)) in bits per dimension of y, plus the weighted error of a mean, (B,).

        x too is dequantized: an upsampled image is not everywhere in its space and has no density otherwise (CAFLOW
        section 4.3).
        """
        full = self._at_target_size(x)
        d, log_det = self.condition_flow(uniform_dequantize(full, 256, generator) - 0.5)
        log_p_x = sum((standard_normal_log_prob(e) for e in d), start=log_det)
        (guess, *known), mean_error = self._known(full, d), y.new_zeros(y.shape[0])
        if self.config.mean_weight:
            mean, raw_scale = guess.chunk(2, 1)
            guess, mean_error = torch.cat((mean.detach(), raw_scale), 1), self._mean_error(y, mean)
        log_mass = self.log_mass_given(y, (guess, *known), generator)
        dims, weight = y[0].numel(), self.config.regularization
        return bits_per_dim(log_mass, dims, 1) + weight * bits_per_dim(log_p_x, dims, 1) + mean_error

    def _mean_error(self, y: Tensor, mean: Tensor) -> Tensor:
        return self.config.mean_weight * (y - mean).abs().flatten(1).mean(1)

    def warm_loss(self, y: Tensor, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return the weighted error of the mean alone, or the loss when there is no mean to warm up, (B,)."""
        if self.encoder is None or not self.config.mean_weight:
            return self.loss(y, x, generator)
        return self._mean_error(y, self.encoder(self._at_target_size(x))[1])
