"""Steps with affine injectors, whose parameters are made for all steps at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .coupling import AffineCoupling
from .linear import Transition
from .recompute import recomputed
from .together import made_together
from .transform import total, total_constant

Injected = tuple[Tensor, Tensor, Tensor]


class InjectedStep(nn.Module):
    """Activation normalization -> 1x1 convolution, at first ``start`` or any rotation -> injector -> coupling.

    The injector, z = (y - shift(x)) / scale(x), is given as what it needs, (B or 1, C, H, W) each; its log-det and that
    of the first two are left to whoever has those of all steps. ``hidden`` is the coupling's context (CAFLOW appendix
    A.2).
    """

    def __init__(self, channels: int, width: int, scale_bound: float, shift_bound: float, start: Tensor | None) -> None:
        super().__init__()
        coupling = AffineCoupling(channels, width, scale_bound, shift_bound)
        # Saved weights count the injector, which has no parameters, as number 1.
        self.transforms = nn.ModuleDict({"0": Transition(channels, start), "2": coupling})

    @property
    def transition(self) -> Transition:
        """Activation normalization and 1x1 convolution."""
        return self.transforms["0"]  # type: ignore[return-value]

    def forward(self, y: Tensor, shift: Tensor, scale: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return z and log|det dz/dy| of the coupling alone, (B,)."""
        z, log_det = self.transforms["2"]((self.transition.there(y) - shift) / scale, hidden)
        return z, log_det

    def inverse(self, z: Tensor, shift: Tensor, scale: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return y and log|det dy/dz| of the coupling alone, (B,)."""
        z, log_det = self.transforms["2"].inverse(z, hidden)  # type: ignore[operator]
        # z comes first: the result takes its order in memory, which for one image must be that of many.
        return self.transition.back((z * scale).add_(shift)), log_det


class InjectedSteps(nn.Module):
    """K steps, given ``shifts`` and ``log_scales`` (B or 1, KC, H, W) of the injectors, and ``couplings`` (B or 1,
    K width, H, W), step after step.

    With ``recompute`` training keeps nothing of what the steps compute (see cflowtool.flows.recompute).
    """

    recompute = False

    def __init__(
        self,
        channels: int,
        width: int,
        starts: Sequence[Tensor | None],
        scale_bound: float = 1.0,
        shift_bound: float = 4.0,
    ) -> None:
        super().__init__()
        self.transforms = nn.ModuleList(
            InjectedStep(channels, width, scale_bound, shift_bound, start) for start in starts
        )

    def _contexts(self, shifts: Tensor, log_scales: Tensor, couplings: Tensor) -> list[Injected]:
        count = len(self.transforms)
        return list(zip(*(part.chunk(count, 1) for part in (shifts, log_scales.exp(), couplings)), strict=True))

    def _shared_log_det(self, y: Tensor, log_scales: Tensor) -> Tensor:
        """Return log|det| of all injectors, activation normalizations and 1x1 convolutions, (B,)."""
        steps: list[InjectedStep] = list(self.transforms)  # type: ignore[arg-type]
        per_position = sum((step.transition.per_position for step in steps[1:]), start=steps[0].transition.per_position)
        return total_constant(per_position, y) - total(log_scales, y.shape[0])

    def forward(self, y: Tensor, shifts: Tensor, log_scales: Tensor, couplings: Tensor) -> tuple[Tensor, Tensor]:
        """Return z, (B, C, H, W), and log|det dz/dy|, (B,)."""
        contexts, steps = self._contexts(shifts, log_scales, couplings), list(self.transforms)
        if self.recompute and self.training and torch.is_grad_enabled():
            z, log_det = recomputed(steps, y, contexts)
            return z, log_det + self._shared_log_det(y, log_scales)
        z, log_det = y, y.new_zeros(y.shape[0])
        with made_together(step.transition for step in steps):  # type: ignore[misc]
            for step, context in zip(steps, contexts, strict=True):
                z, change = step(z, *context)
                log_det = log_det + change
            return z, log_det + self._shared_log_det(y, log_scales)

    def inverse(self, z: Tensor, shifts: Tensor, log_scales: Tensor, couplings: Tensor) -> tuple[Tensor, Tensor]:
        """Return y, (B, C, H, W), and log|det dy/dz|, (B,)."""
        log_det = -self._shared_log_det(z, log_scales)
        contexts = self._contexts(shifts, log_scales, couplings)
        for step, context in zip(reversed(self.transforms), reversed(contexts), strict=True):
            z, change = step.inverse(z, *context)  # type: ignore[operator]
            log_det = log_det + change
        return z, log_det
