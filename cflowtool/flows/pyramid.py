"""The multi-scale flow: squeeze, steps, split, level after level."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..nets.convolution import Conv2d
from ..nets.prepared import Preparable
from .coupling import AffineCoupling
from .gaussian import ConditionalPrior, ConditionalSplitPrior, Latent
from .linear import Affine1x1, Map1x1, Transition
from .recompute import recomputed
from .squeeze import Squeeze
from .together import made_together
from .transform import Transform, all_variable, held, total_constant

Context = tuple[Tensor, ...]


class Chain(Transform, Preparable):
    """Transforms one after another; the context's channels are dealt out to them in order.

    With ``recompute`` training keeps nothing of what they compute on the way (see cflowtool.flows.recompute). Prepared,
    1x1 maps that come one after another are one, and all their log-determinants one number.
    """

    recompute = False
    _flat: list[Transform | Map1x1]
    _flat_shares: list[int]
    _per_position: Tensor | None

    def __init__(self, transforms: Sequence[Transform]) -> None:
        super().__init__()
        self.transforms = nn.ModuleList(transforms)
        self.shares = [transform.context_channels for transform in transforms]
        self.context_channels = sum(self.shares)

    def leaves(self) -> list[Transform]:
        """Return the transforms, those of chains among them in these chains' place."""
        parts = [part.leaves() if isinstance(part, Chain) else [part] for part in self.transforms]
        return [leaf for part in parts for leaf in part]  # type: ignore[misc]

    def make(self) -> None:
        """Keep 1x1 maps that come one after another as one, and the sum of all their log-determinants."""
        self._flat = []
        for leaf in self.leaves():
            if not isinstance(leaf, Affine1x1):
                self._flat.append(leaf)
            elif self._flat and isinstance(self._flat[-1], Map1x1):
                self._flat[-1] = self._flat[-1].then(leaf.as_map())
            else:
                self._flat.append(leaf.as_map())
        self._flat_shares = [0 if isinstance(part, Map1x1) else part.context_channels for part in self._flat]
        numbers = [part.per_position for part in self._flat if isinstance(part, Map1x1)]
        self._per_position = sum(numbers[1:], start=numbers[0]) if numbers else None

    @property
    def flat(self) -> bool:
        """Whether what was made is used."""
        return self.prepared and all_variable() and not torch.is_grad_enabled()

    def forward(self, y: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return f_n(... f_1(y)) and the sum of the log-dets, (B,)."""
        if self.flat:
            return self._through(y, context)
        parts, changes = context.split(self.shares, 1), []
        if self.recompute and self.training and torch.is_grad_enabled():
            z, log_det = recomputed(list(self.transforms), y, [(part,) for part in parts])
            return held(z), log_det
        with made_together(self.leaves()):
            for transform, part in zip(self.transforms, parts, strict=True):
                y, change = transform(held(y), part)
                changes.append(change)
        return held(y), sum(changes[1:], start=changes[0])

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return f_1^-1(... f_n^-1(z)) and the sum of the log-dets, (B,)."""
        if self.flat:
            return self._back(z, context)
        changes, parts = [], context.split(self.shares, 1)
        for transform, part in zip(reversed(self.transforms), reversed(parts), strict=True):
            z, change = transform.inverse(held(z), part)  # type: ignore[operator]
            changes.append(change)
        return held(z), sum(changes[1:], start=changes[0])

    def _through(self, y: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        log_det = y.new_zeros(y.shape[0]) if self._per_position is None else total_constant(self._per_position, y)
        for part, given in zip(self._flat, context.split(self._flat_shares, 1), strict=True):
            if isinstance(part, Map1x1):
                y = part.there(y)
            else:
                y, change = part(y, given)
                log_det = log_det + change
        return y, log_det

    def _back(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        log_det = z.new_zeros(z.shape[0]) if self._per_position is None else total_constant(-self._per_position, z)
        for part, given in zip(reversed(self._flat), reversed(context.split(self._flat_shares, 1)), strict=True):
            if isinstance(part, Map1x1):
                z = part.back(z)
            else:
                z, change = part.inverse(z, given)
                log_det = log_det + change
        return z, log_det


Step = Callable[[int], Transform]


def affine_step(width: int, scale_bound: float, shift_bound: float) -> Step:
    """Return a maker of the paper's subflow, activation normalization -> 1x1 convolution -> conditional coupling."""

    def make(channels: int) -> Transform:
        return Chain([Transition(channels), AffineCoupling(channels, width, scale_bound, shift_bound)])

    return make


class Pyramid(nn.Module):
    """L levels of squeeze -> K steps -> split; what is split off and what is left become standard normal noise.

    ``context`` has one tensor a level, (B or 1, context_channels[l], H / 2^(l+1), W / 2^(l+1)). H and W are multiples
    of 2^L (CNF section 5.1; L = 2, K = 8 there).
    """

    def __init__(self, channels: int, levels: int, steps: int, step: Step, width: int) -> None:
        super().__init__()
        self.squeeze = Squeeze()
        self.flows = nn.ModuleList()
        self.priors = nn.ModuleList()
        self.widths: list[int] = []
        self.shares: list[tuple[int, int]] = []
        for level in range(levels):
            channels *= 4
            flow = Chain([step(channels) for _ in range(steps)])
            last = level == levels - 1
            prior: Transform = ConditionalPrior(channels) if last else ConditionalSplitPrior(channels, width)
            self.flows.append(flow)
            self.priors.append(prior)
            self.shares.append((flow.context_channels, prior.context_channels))
            kept = 0 if last else channels // 2
            self.widths.append(channels - kept)
            channels = kept
        self.context_channels = tuple(map(sum, self.shares))

    @torch.no_grad()
    def projections(self, widths: Sequence[int]) -> nn.ModuleList:
        """Return a 3x3 convolution a level that makes its context of features of so many channels.

        The last level's prior starts at N(0, 1), so that an untrained flow is noise around 0.
        """
        convolutions = [
            Conv2d(width, channels, 3, padding=1) for width, channels in zip(widths, self.context_channels, strict=True)
        ]
        weight, bias = convolutions[-1].weight, convolutions[-1].bias
        assert bias is not None
        weight[-self.shares[-1][1] :] = 0
        bias[-self.shares[-1][1] :] = 0
        return nn.ModuleList(convolutions)

    def latent_shapes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """Return (channels, height, width) of every level's noise for an image of height x width pixels."""
        return [(c, height >> (level + 1), width >> (level + 1)) for level, c in enumerate(self.widths)]

    def forward(self, y: Tensor, context: Context) -> tuple[Latent, Tensor]:
        """Return the noise of every level and log|det d eps / d y|, (B,)."""
        log_det = y.new_zeros(y.shape[0])
        latent: list[Tensor] = []
        for level, (flow, prior, part) in enumerate(zip(self.flows, self.priors, context, strict=True)):
            steps, rest = part.split(self.shares[level], 1)
            y, _ = self.squeeze(y, part)
            y, change = flow(y, steps)
            y, change_prior = prior(y, rest)
            log_det = log_det + change + change_prior
            y, eps = y.split((y.shape[1] - self.widths[level], self.widths[level]), 1)
            latent.append(eps)
        return tuple(latent), log_det

    def inverse(self, eps: Latent, context: Context) -> tuple[Tensor, Tensor]:
        """Return y and log|det d y / d eps|, (B,)."""
        log_det = eps[0].new_zeros(eps[0].shape[0])
        y = eps[-1][:, :0]
        for level in reversed(range(len(self.widths))):
            steps, rest = context[level].split(self.shares[level], 1)
            y, change_prior = self.priors[level].inverse(torch.cat((y, eps[level]), 1), rest)  # type: ignore[operator]
            y, change = self.flows[level].inverse(y, steps)  # type: ignore[operator]
            y, _ = self.squeeze.inverse(y, context[level])
            log_det = log_det + change + change_prior
        return y, log_det
