"""Steps with affine injectors, whose parameters are made for all steps at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from .coupling import AffineCoupling
from .injector import LOG_SCALE_BOUND
from .linear import Transition
from .recompute import recomputed
from .transform import bounded, total

Injected = tuple[Tensor, Tensor, Tensor]


class InjectedStep(nn.Module):
    """Activation normalization -> 1x1 convolution, at first ``start`` or any rotation -> injector -> coupling.

    The injector, z = (y - shift(x)) / scale(x), is given as what it needs, (B or 1, C, H, W) each; its log-det is left
    to whoever made that. ``hidden`` is the coupling's context (CAFLOW appendix A.2).
    """

    def __init__(self, channels: int, width: int, scale_bound: float, shift_bound: float, start: Tensor | None) -> None:
        super().__init__()
        coupling = AffineCoupling(channels, width, scale_bound, shift_bound)
        # Saved weights count the injector, which has no parameters, as number 1.
        self.transforms = nn.ModuleDict({"0": Transition(channels, start), "2": coupling})

    def forward(self, y: Tensor, shift: Tensor, scale: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return z and log|det dz/dy| without the injector's, (B,)."""
        y, first = self.transforms["0"](y, hidden)
        z, second = self.transforms["2"]((y - shift) / scale, hidden)
        return z, first + second

    def inverse(self, z: Tensor, shift: Tensor, scale: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return y and log|det dy/dz| without the injector's, (B,)."""
        z, second = self.transforms["2"].inverse(z, hidden)  # type: ignore[operator]
        # z comes first: the result takes its order in memory, which for one image must be that of many.
        y, first = self.transforms["0"].inverse(z * scale + shift, hidden)  # type: ignore[operator]
        return y, first + second


class InjectedSteps(nn.Module):
    """K steps, given ``injectors`` (B or 1, 2KC, H, W) and ``couplings`` (B or 1, K width, H, W), step after step.

    A step's 2C channels are an injector's shift and the log of its scale, s = 3 tanh(raw / 3), before that bound. With
    ``recompute`` training keeps nothing of what the steps compute (see cflowtool.flows.recompute).
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

    def _contexts(self, y: Tensor, injectors: Tensor, couplings: Tensor) -> tuple[list[Injected], Tensor]:
        """Return what every step is given, and the sum of all injectors' log-scales, (B,)."""
        count = len(self.transforms)
        shift, raw = injectors.to(y.dtype).unflatten(1, (count, 2, -1)).unbind(2)
        log_scale = bounded(raw, LOG_SCALE_BOUND)
        parts: Iterator[Injected] = zip(
            shift.unbind(1), log_scale.exp().unbind(1), couplings.chunk(count, 1), strict=True
        )
        return list(parts), total(log_scale.flatten(1, 2), y.shape[0])

    def forward(self, y: Tensor, injectors: Tensor, couplings: Tensor) -> tuple[Tensor, Tensor]:
        """Return z, (B, C, H, W), and log|det dz/dy|, (B,)."""
        contexts, log_scales = self._contexts(y, injectors, couplings)
        if self.recompute and self.training and torch.is_grad_enabled():
            z, log_det = recomputed(list(self.transforms), y, contexts)
            return z, log_det - log_scales
        log_det = -log_scales
        for step, context in zip(self.transforms, contexts, strict=True):
            y, change = step(y, *context)
            log_det = log_det + change
        return y, log_det

    def inverse(self, z: Tensor, injectors: Tensor, couplings: Tensor) -> tuple[Tensor, Tensor]:
        """Return y, (B, C, H, W), and log|det dy/dz|, (B,)."""
        contexts, log_det = self._contexts(z, injectors, couplings)
        for step, context in zip(reversed(self.transforms), reversed(contexts), strict=True):
            z, change = step.inverse(z, *context)  # type: ignore[operator]
            log_det = log_det + change
        return z, log_det
