"""Training in the memory of one step: what a flow's steps computed is found again from what came out of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .transform import held

Contexts = Sequence[Tensor]
Mapped = tuple[Tensor, Tensor]


@dataclass
class _Steps:
    """The steps of one forward pass, with what they read beside their inputs: context variables and autocast."""

    modules: Sequence[nn.Module]
    device: str
    counts: list[int]
    parameters: list[list[nn.Parameter]] = field(default_factory=list)
    variables: Context = field(default_factory=copy_context)

    def __post_init__(self) -> None:
        self.parameters = [[p for p in module.parameters() if p.requires_grad] for module in self.modules]
        self.autocast = torch.is_autocast_enabled(self.device)
        self.precision = torch.get_autocast_dtype(self.device)

    def again(self, work: Callable[[], Any]) -> Any:
        """Return what ``work`` gives under the settings of the forward pass, which are over when gradients are made."""
        with torch.autocast(self.device, self.precision, enabled=self.autocast):
            return self.variables.run(work)

    def gradients(self, k: int, z: Tensor, contexts: Contexts, wanted: Mapped) -> tuple[Tensor, list[Tensor | None]]:
        """Return the input of step k, and the gradients of that, of its contexts and of its parameters."""
        module = self.modules[k]
        with torch.no_grad():
            y = self.again(lambda: module.inverse(held(z), *contexts)[0]).detach()  # type: ignore[operator]
        inputs = [t.detach().requires_grad_(t.is_floating_point()) for t in (y, *contexts)]
        with torch.enable_grad():
            outputs: Mapped = self.again(lambda: module(held(inputs[0]), *inputs[1:]))
        found = [(out, grad) for out, grad in zip(outputs, wanted, strict=True) if out.requires_grad]
        outs, grads = zip(*found, strict=True)
        return y, list(torch.autograd.grad(outs, (*inputs, *self.parameters[k]), grads, allow_unused=True))


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
    steps = _Steps(modules, y.device.type, [len(each) for each in contexts])
    flat = [t for each in contexts for t in each]
    parameters = [p for each in steps.parameters for p in each]
    z, log_det = _Recomputed.apply(steps, y, *flat, *parameters)  # type: ignore[no-untyped-call]
    return z, log_det
