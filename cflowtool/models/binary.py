"""CNF for binary targets, and its factored baseline (CNF sections 3.2 and 5.2)."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ..flows.dequantize import VariationalDequantizer, standard_normal
from ..flows.gaussian import Latent, standard_normal_log_prob
from ..flows.pyramid import Context, Pyramid
from ..flows.transform import bounded, total
from ..flows.translation import translation_step
from ..metrics.likelihood import bits_per_dim
from ..nets.vgg import VGG, Features, Norm, SideOutputs, UNet
from .base import Density, Draws, SizeRule, per_sample

# Phi(sqrt(pi / 8) l) is nearly sigmoid(l): unit noise around this much of a logit has the logit's probability.
_PROBIT = math.sqrt(math.pi / 8)
_LOGIT_BOUND = 8.0
_WHOLE_IMAGE = sys.maxsize


@dataclass(frozen=True)
class FactoredBinaryConfig:
    """Sizes of the factored baseline; ``beta`` is equation 9's, None for the plain Bernoulli, and a U-Net can go
    ``depth`` halvings down, more than its ``levels`` of features."""

    scale: int = 1
    in_channels: int = 3
    channels: int = 1
    encoder: Literal["vgg", "unet"] = "vgg"
    norm: Norm = "instance"
    encoder_channels: int = 64
    levels: int = 2
    depth: int = 0
    beta: float | None = None

    def __post_init__(self) -> None:
        if self.scale != 1:
            raise ValueError("a binary target has the size of x: scale must be 1")
        if self.depth and self.encoder == "vgg":
            raise ValueError(f"depth ({self.depth}) is for the encoder unet: a vgg goes as deep as its levels")
        if self.beta is not None and not 0 < self.beta < 1:
            raise ValueError(f"beta ({self.beta}) must be between 0 and 1")


@dataclass(frozen=True)
class BinaryCNFConfig(FactoredBinaryConfig):
    """Sizes of the flow; L = 2 and K = 8 are the paper's (section 5.1), which gives no widths."""

    steps: int = 8
    width: int = 64
    shift_bound: float = 4.0
    dequantizer_steps: int = 4
    dequantizer_width: int = 32
    mean_weight: float = 0.0


class Binary(Density):
    """What both models share: y in {0, 1} of x's size, and an encoder with features at every resolution.

    As a mask y counts as 1 where it is above 1/2. With instance or group normalization every pixel
    of x matters everywhere, ``reach`` has no bound, and a tile is not what it is in the whole image.
    """

    levels = 2
    encoder: VGG | UNet

    def __init__(self, config: FactoredBinaryConfig) -> None:
        super().__init__()
        self.config = config
        self.scale, self.in_channels, self.channels = config.scale, config.in_channels, config.channels
        sizes = config.in_channels, config.encoder_channels, config.levels, config.norm
        self.encoder = VGG(*sizes) if config.encoder == "vgg" else UNet(*sizes, depth=config.depth)
        self.beta = config.beta
        self.size = SizeRule(multiple_of=self.encoder.multiple_of)

    def _reach(self, beyond: int) -> int:
        return self.encoder.reach + beyond if self.config.norm == "none" else _WHOLE_IMAGE

    def _head(self) -> SideOutputs:
        return SideOutputs(self.encoder.out_channels, self.channels)

    @torch.no_grad()
    def probability(self, x: Tensor, samples: int = 100, temperature: float = 1.0, seed: int = 0) -> Tensor:
        """Return the mean of [y > 1/2] over samples, (B, C, H, W): the paper's soft map (section 5.2, 100 samples)."""
        context, count = self.encode(x), torch.zeros((), dtype=x.dtype, device=x.device)
        for k in range(samples):
            noise = self.noise((x.shape[-2], x.shape[-1]), [k], temperature, seed)
            eps = tuple(e.to(x).expand(x.shape[0], *e.shape) for e in noise)
            count = count + (self.decode(eps, context).y[:, 0] > 0.5)
        return count / samples


def logit_of(head: SideOutputs, features: Features, x: Tensor) -> Tensor:
    """Return the logit (B, C, H, W) that a head makes of an x's features, in x's precision."""
    with torch.autocast(x.device.type, enabled=False):
        logit: Tensor = head(tuple(feature.to(x.dtype) for feature in features))
    return logit


def weighted_cross_entropy(logit: Tensor, y: Tensor, beta: float | None) -> Tensor:
    """Return -[beta y log p + (1 - beta) (1 - y) log(1 - p)] in nats, p = sigmoid(logit), the numerator of equation 9.

    ``beta`` weighs the positive class (the vessels), as printed: 0.1 makes a missed vessel pixel nine times cheaper
    than a false one, and 0.9, the share of the background, balances the classes. None weighs both by 1.
    """
    positive, negative = (1.0, 1.0) if beta is None else (beta, 1 - beta)
    return -torch.where(y > 0.5, positive * F.logsigmoid(logit), negative * F.logsigmoid(-logit))


class FactoredBinary(Binary):
    """P(y|x) = prod_j p_j^(beta y_j) (1 - p_j)^((1 - beta) (1 - y_j)) / (p_j^beta + (1 - p_j)^(1 - beta)) (CNF eq. 9).

    Trained by the numerator alone, reported with the normalizer, both as in section 5.2. Samples are drawn from the
    soft image p, as in the paper's figure 6; without ``beta`` that is the very distribution that log_prob is of.
    """

    Config = FactoredBinaryConfig

    def __init__(self, config: FactoredBinaryConfig) -> None:
        super().__init__(config)
        self.head = self._head()
        self.reach = self._reach(2**config.levels)

    def latent_shapes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """Return the one level's noise shape, that of y."""
        return [(self.channels, height, width)]

    def encode(self, x: Tensor) -> Context:
        """Return the logit of p, (B, C, H, W)."""
        return (logit_of(self.head, self.encoder(x), x),)

    def log_prob_given(self, y: Tensor, context: Context) -> Tensor:
        """Return log P(y|x), (B,), in nats, the normalizer included: a probability, for y is discrete."""
        (logit,), beta = context, self.beta
        if beta is not None:
            logit = beta * F.logsigmoid(logit) - (1 - beta) * F.logsigmoid(-logit)
        return total(F.logsigmoid(torch.where(y > 0.5, logit, -logit)), y.shape[0])

    def log_mass_given(self, y: Tensor, context: Context, generator: torch.Generator | None = None) -> Tensor:
        """Return log P(y|x), (B,), in nats; there is no noise to draw."""
        return self.log_prob_given(y, context)

    def decode(self, eps: Latent, context: Context) -> Draws:
        """Return y = [Phi(eps) < p] and log P(y|x), of noise (B, N, C, H, W); without noise y = [p > 1/2]."""
        batch, samples = eps[0].shape[:2]
        context = per_sample(context, samples)
        flat = eps[0].flatten(0, 1)
        y = (torch.special.log_ndtr(flat) < F.logsigmoid(context[0])).to(flat.dtype)
        return Draws(y.unflatten(0, (batch, samples)), self.log_prob_given(y, context).view(batch, samples))

    def loss(self, y: Tensor, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return the weighted cross-entropy in bits per dimension, (B,); without ``beta`` that of y itself."""
        nats = weighted_cross_entropy(self.encode(x)[0], y, self.beta)
        return nats.flatten(1).mean(1) / math.log(2)

    def probability(self, x: Tensor, samples: int = 100, temperature: float = 1.0, seed: int = 0) -> Tensor:
        """Return the soft image p, (B, C, H, W), exactly: what the mean of samples at temperature 1 tends to."""
        with torch.no_grad():
            return self.encode(x)[0].sigmoid()


class BinaryCNF(Binary):
    """p(v|x) = N(f(v - shift(x); x); 0, I) |det df/dv| of the real v behind y = [v > 1/2] (CNF equations 7 and 8).

    f rotates and translates only; scales are learned in the priors. v comes of y by half-infinite noise,
    log P(y|x) >= E_q [log p(v|x) - log q(v|y, x)]. The shift is 1/2, or, with ``mean_weight`` > 0, 1/2 plus what makes
    unit noise as probable as the logit of a head that is trained by its own cross-entropy, which the likelihood does
    not reach. The context is shift and features at y's resolution, then, for every level, what the first
    convolutions of its coupling nets make of x.
    """

    Config = BinaryCNFConfig
    variational = True

    def __init__(self, config: BinaryCNFConfig) -> None:
        super().__init__(config)
        self.mean_weight = config.mean_weight
        self.head = self._head() if config.mean_weight else None
        self.reach = self._reach(sum((2 * config.steps + 4) << level for level in range(1, config.levels + 1)))
        step = translation_step(config.width, config.shift_bound)
        self.pyramid = Pyramid(config.channels, config.levels, config.steps, step, config.width)
        finest, *coarser = self.encoder.out_channels
        self.project = self.pyramid.projections(coarser)
        self.dequantizer = VariationalDequantizer(
            config.channels, config.channels + finest, config.dequantizer_steps, config.dequantizer_width, binary=True
        )

    def latent_shapes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """Return (channels, h, w) of every level's noise for an x of height x width."""
        return self.pyramid.latent_shapes(height, width)

    def _context(self, features: Features, x: Tensor, logit: Tensor | None) -> Context:
        finest, *coarser = features
        shift = x.new_full((x.shape[0], self.channels, *x.shape[-2:]), 0.5)
        if logit is not None:
            shift = shift + _PROBIT * bounded(logit, _LOGIT_BOUND)
        levels = (project(feature) for project, feature in zip(self.project, coarser, strict=True))
        return (torch.cat((shift, finest), 1), *levels)

    def encode(self, x: Tensor) -> Context:
        """Return (B, C + C_0, H, W) of shift and features, then (B, ., H / 2^l, W / 2^l) of every level."""
        features = self.encoder(x)
        return self._context(features, x, logit_of(self.head, features, x) if self.head else None)

    def log_prob_given(self, y: Tensor, context: Context) -> Tensor:
        """Return log p(v|x), (B,), in nats, of a real v = y (CNF equation 7)."""
        eps, log_det = self.pyramid(y - context[0][:, : self.channels], context[1:])
        return sum((standard_normal_log_prob(e) for e in eps), start=log_det)

    def log_mass_given(self, y: Tensor, context: Context, generator: torch.Generator | None = None) -> Tensor:
        """Return log p(v|x) - log q(v|y, x), (B,), in nats, v drawn of q: in the mean at most log P(y|x) (CNF eq. 5).

        Without a generator the noise behind v is always the same, and the same for every y of a batch.
        """
        y = (y > 0.5).to(y.dtype)
        eps = standard_normal(y if generator else y[:1], generator).expand_as(y)
        v, log_q = self.dequantizer(y, eps, self.dequantizer.condition(context[0]))
        log_mass: Tensor = self.log_prob_given(v, context) - log_q
        return log_mass

    def decode(self, eps: Latent, context: Context) -> Draws:
        """Return v and log p(v|x) gathered on the way, of noise (B, N, c, h, w) a level; y is [v > 1/2]."""
        batch, samples = eps[0].shape[:2]
        flat, context = tuple(e.flatten(0, 1) for e in eps), per_sample(context, samples)
        z, log_det = self.pyramid.inverse(flat, context[1:])
        v = z + context[0][:, : self.channels]
        log_prob = sum((standard_normal_log_prob(e) for e in flat), start=-log_det)
        return Draws(v.unflatten(0, (batch, samples)), log_prob.view(batch, samples))

    def _bits(self, y: Tensor, context: Context, generator: torch.Generator) -> Tensor:
        return bits_per_dim(self.log_mass_given(y, context, generator), y[0].numel(), levels=1)

    def loss(self, y: Tensor, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return bits per dimension of y, an upper bound in the mean, plus the head's weighted cross-entropy, (B,)."""
        features = self.encoder(x)
        if self.head is None:
            return self._bits(y, self._context(features, x, None), generator)
        logit = logit_of(self.head, features, x)
        bits = self._bits(y, self._context(features, x, logit.detach()), generator)
        return bits + self._head_loss(y, logit)

    def _head_loss(self, y: Tensor, logit: Tensor) -> Tensor:
        return weighted_cross_entropy(logit, y, self.beta).flatten(1).mean(1) * self.mean_weight

    def warm_loss(self, y: Tensor, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return the head's weighted cross-entropy alone, or the loss when there is no head to warm up, (B,)."""
        if self.head is None:
            return self.loss(y, x, generator)
        return self._head_loss(y, logit_of(self.head, self.encoder(x), x))
