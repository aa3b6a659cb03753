"""Training in the memory of one step: what a flow's steps computed is found again from what came out of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..nets.recompute import Settings, gradients_of
from .transform import held

Contexts = Sequence[Tensor]
Mapped = tuple[Tensor, Tensor]


@dataclass
class _Steps:
    """The steps of one forward pass and the settings that it had."""

    modules: Sequence[nn.Module]
    counts: list[int]
    settings: Settings

    def __post_init__(self) -> None:
        self.parameters = [[p for p in module.parameters() if p.requires_grad] for module in self.modules]

    def gradients(self, k: int, z: Tensor, contexts: Contexts, wanted: Mapped) -> tuple[Tensor, list[Tensor | None]]:
        """Return the input of step k, and the gradients of that, of its contexts and of its parameters."""
        module, again = self.modules[k], self.settings.again
        with torch.no_grad():
            y = again(lambda: module.inverse(held(z), *contexts)[0]).detach()  # type: ignore[operator]
        inputs = [t.detach().requires_grad_(t.is_floating_point()) for t in (y, *contexts)]
        with torch.enable_grad():
            outputs: Mapped = again(lambda: module(held(inputs[0]), *inputs[1:]))
        return y, gradients_of(outputs, (*inputs, *self.parameters[k]), wanted)


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, steps: _Steps, y: Tensor, *tensors: Tensor) -> Mapped:
        contexts = tensors[: sum(steps.counts)]
        log_det, rest = y.new_zeros(y.shape[0]), iter(contexts)
        for module, count in zip(steps.modules, steps.counts, strict=True):
            y, change = module(held(y), *(next(rest) for _ in range(count)))
            log_det = log_det + change
        ctx.steps = steps
        ctx.save_for_backward(y, *contexts)
        return y, log_det

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_z: Tensor, grad_log_det: Tensor) -> tuple[Tensor | None, ...]:
        steps: _Steps = ctx.steps
        z, *contexts = ctx.saved_tensors
        of_contexts: list[Tensor | None] = []
        of_parameters: list[Tensor | None] = []
        for k in reversed(range(len(steps.modules))):
            split = len(contexts) - steps.counts[k]
            contexts, own = contexts[:split], contexts[split:]
            z, (grad, *found) = steps.gradients(k, z, own, (grad_z, grad_log_det))
            assert grad is not None
            grad_z, of_contexts = grad, found[: len(own)] + of_contexts
            of_parameters = found[len(own) :] + of_parameters
        return None, grad_z, *of_contexts, *of_parameters


def recomputed(modules: Sequence[nn.Module], y: Tensor, contexts: Sequence[Contexts]) -> Mapped:
    """Return z = f_n(... f_1(y)) and the sum of the log-dets, (B,), of invertible steps z = f_k(y, *contexts[k]).

    Of all that the steps compute only z is kept. Gradients go back step by step: y comes of z by the inverse, and one
    step at a time is computed again. They are plain autograd's to rounding, for about half as much time again.
    """
    steps = _Steps(modules, [len(each) for each in contexts], Settings(y.device.type))
    flat = [t for each in contexts for t in each]
    parameters = [p for each in steps.parameters for p in each]
    z, log_det = _Recomputed.apply(steps, y, *flat, *parameters)  # type: ignore[no-untyped-call]
    return z, log_det
