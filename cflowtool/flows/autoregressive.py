"""CAFLOW's conditional flows: blocks that see the condition and the coarser latents, and a scale's chain of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..nets.condition import ConditionNet
from .gaussian import Latent
from .injected import InjectedSteps
from .injector import LOG_SCALE_BOUND
from .linear import cancelling, wavelet_transitions
from .pyramid import Chain, Context
from .squeeze import Squeeze


class ConditionalBlock(nn.Module):
    """f_j: squeeze -> two transition steps -> K conditional steps, given d_j and perhaps l_j (CAFLOW section 4.2).

    Given d_j alone the context is complete in ``known``; given l_j too, ``context`` completes it sample by sample.
    """

    transition_steps = 2

    def __init__(
        self,
        channels: int,
        known: int,
        drawn: int,
        steps: int,
        width: int,
        scale_bound: float = 1.0,
        shift_bound: float = 4.0,
    ) -> None:
        super().__init__()
        inner = 4 * channels
        self.squeeze = Squeeze()
        self.transitions = Chain(wavelet_transitions(channels, self.transition_steps))
        starts = cancelling(inner, steps)
        self.steps = InjectedSteps(inner, width, starts, scale_bound, shift_bound)
        self.net = ConditionNet(4 * known, 4 * drawn, steps, inner, width, LOG_SCALE_BOUND)
        self.drawn = drawn
        self.shares = [steps * inner, steps * inner, steps * width]

    def known(self, d: Tensor) -> Tensor:
        """Return what d_j (B, known, h, w) decides of the context, at (h / 2, w / 2)."""
        hidden = self.net.hidden(F.pixel_unshuffle(d, 2))
        return hidden if self.drawn else torch.cat([part.to(d.dtype) for part in self.net(hidden)], 1)

    def context(self, known: Tensor, drawn: Tensor) -> Context:
        """Return the steps' context: the injectors' shifts and log-scales, and the couplings' share."""
        context: Context = self.net(known, F.pixel_unshuffle(drawn, 2)) if self.drawn else known.split(self.shares, 1)
        return context

    def forward(self, y: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """Return f_j(y), (B, 4C, h / 2, w / 2), and its log-det (B,)."""
        nothing = y[:, :0]
        y, first = self.transitions(self.squeeze(y, nothing)[0], nothing)
        y, second = self.steps(y, *context)
        return y, first + second

    def inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """Return f_j^-1(z), (B, C, h, w), and its log-det (B,)."""
        z, second = self.steps.inverse(z, *context)
        nothing = z[:, :0]
        z, first = self.transitions.inverse(z, nothing)
        return self.squeeze.inverse(z, nothing)[0], first + second


class Component(nn.Module):
    """F_i: L_i <-> (z_i, ..., z_0), one block a scale from i down to ``lowest``; half is split off after each.

    ``blocks`` is f_i, ..., f_lowest in this order, and so are the contexts and the latents l_i, ..., l_lowest, of
    which the first is not looked at.
    """

    def __init__(self, blocks: list[ConditionalBlock]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def _contexts(self, known: Context, lower: Latent) -> list[Context]:
        return [block.context(k, low) for block, k, low in zip(self.blocks, known, lower, strict=True)]  # type: ignore[operator]

    def forward(self, y: Tensor, known: Context, lower: Latent) -> tuple[Latent, Tensor]:
        """Return the noise of y = l_i and log|det d noise / d l_i|, (B,), given ``lower`` = (l_i, ..., l_lowest)."""
        latent: list[Tensor] = []
        log_det = y.new_zeros(y.shape[0])
        for block, context in zip(self.blocks, self._contexts(known, lower), strict=True):
            y, change = block(y, context)
            log_det = log_det + change
            if len(latent) < len(self.blocks) - 1:
                y, split = y.chunk(2, 1)
                latent.append(split)
        return (*latent, y), log_det

    def inverse(self, eps: Latent, known: Context, lower: Latent) -> tuple[Tensor, Tensor]:
        """Return l_i and log|det d l_i / d noise|, (B,); of ``lower`` the first is not looked at."""
        log_det, z = eps[0].new_zeros(eps[0].shape[0]), eps[-1][:, :0]
        steps = zip(self.blocks, self._contexts(known, lower), eps, strict=True)
        for block, context, noise in reversed(list(steps)):
            z, change = block.inverse(torch.cat((z, noise), 1), context)  # type: ignore[operator]
            log_det = log_det + change
        return z, log_det
