"""The unconditional multi-scale flow."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .coupling import UnconditionalCoupling
from .gaussian import Latent
from .linear import Transition, cancelling, wavelet_transitions
from .pyramid import Chain
from .squeeze import Squeeze
from .transform import Transform


def unconditional_step(channels: int, width: int, scale_bound: float, shift_bound: float, start: Tensor) -> Transform:
    """Return activation normalization -> 1x1 convolution -> coupling (CAFLOW A.1, step 4), the second at ``start``."""
    return Chain([Transition(channels, start), UnconditionalCoupling(channels, width, scale_bound, shift_bound)])


class MultiScale(nn.Module):
    """n scales of squeeze -> two transition steps -> K flow steps -> split, y <-> (L_{n-1}, ..., L_0) (CAFLOW A.1).

    What is split off comes first, the finest; the last scale keeps everything. H and W are multiples of 2^n. The
    transition steps let the flow interpolate between neighbours after a squeeze, without which it leaves a grid. At the
    start it is a wavelet transform: what is kept is what is coarse (docs/decisions/wavelet-start.md).
    """

    transition_steps = 2

    def __init__(
        self, channels: int, scales: int, steps: int, width: int, scale_bound: float = 1.0, shift_bound: float = 4.0
    ) -> None:
        super().__init__()
        self.squeeze = Squeeze()
        self.flows = nn.ModuleList()
        self.widths: list[int] = []
        for scale in range(scales):
            transitions = wavelet_transitions(channels, self.transition_steps)
            channels *= 4
            starts = cancelling(channels, steps)
            flow = [unconditional_step(channels, width, scale_bound, shift_bound, start) for start in starts]
            self.flows.append(Chain([*transitions, *flow]))
            kept = 0 if scale == scales - 1 else channels // 2
            self.widths.append(channels - kept)
            channels = kept

    def latent_shapes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """Return (channels, height, width) of every latent for an image of height x width pixels, the finest first."""
        return [(c, height >> (scale + 1), width >> (scale + 1)) for scale, c in enumerate(self.widths)]

    def forward(self, y: Tensor) -> tuple[Latent, Tensor]:
        """Return the latents and log|det d latents / d y|, (B,)."""
        log_det, nothing = y.new_zeros(y.shape[0]), y.new_zeros(1, 0, 1, 1)
        latent: list[Tensor] = []
        for flow, width in zip(self.flows, self.widths, strict=True):
            y, change = flow(self.squeeze(y, nothing)[0], nothing)
            log_det = log_det + change
            y, split = y.split((y.shape[1] - width, width), 1)
            latent.append(split)
        return tuple(latent), log_det

    def inverse(self, latent: Latent) -> tuple[Tensor, Tensor]:
        """Return y and log|det d y / d latents|, (B,)."""
        log_det, nothing = latent[0].new_zeros(latent[0].shape[0]), latent[0].new_zeros(1, 0, 1, 1)
        y = latent[-1][:, :0]
        for flow, split in zip(reversed(self.flows), reversed(latent), strict=True):
            y, change = flow.inverse(torch.cat((y, split), 1), nothing)  # type: ignore[operator]
            y, _ = self.squeeze.inverse(y, nothing)
            log_det = log_det + change
        return y, log_det
