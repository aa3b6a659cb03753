"""Parts of a network whose activations are computed again when gradients are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Value = TypeVar("Value")


@dataclass
class Settings:
    """What a forward pass reads beside its inputs, context variables and autocast: gradients are made without them."""

    device: str
    variables: Context = field(default_factory=copy_context)

    def __post_init__(self) -> None:
        self.autocast = torch.is_autocast_enabled(self.device)
        self.precision = torch.get_autocast_dtype(self.device)

    def again(self, work: Callable[[], Value]) -> Value:
        """Return what ``work`` gives under them."""
        with torch.autocast(self.device, self.precision, enabled=self.autocast):
            return self.variables.run(work)


def gradients_of(outputs: Sequence[Tensor], inputs: Sequence[Tensor], wanted: Sequence[Tensor]) -> list[Tensor | None]:
    """Return the gradients of the inputs, those of outputs being ``wanted``.

    They are copies: what autograd returns lies among activations that are given back now, in whose place the next
    ones, a little larger with their alignment, would never fit again, so that the process would go on growing.
    """
    found = [(out, grad) for out, grad in zip(outputs, wanted, strict=True) if out.requires_grad]
    outs, grads = zip(*found, strict=True)
    made = torch.autograd.grad(outs, inputs, grads, allow_unused=True)
    return [None if grad is None else grad.clone() for grad in made]


class _Again(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, net: Callable[[Tensor], Tensor], x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.net, ctx.parameters, ctx.settings = net, parameters, Settings(x.device.type)
        ctx.save_for_backward(x)
        return net(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        [x], parameters = ctx.saved_tensors, ctx.parameters
        x = x.detach().requires_grad_(ctx.needs_input_grad[1])
        with torch.enable_grad():
            out: Tensor = ctx.settings.again(lambda: ctx.net(x))
        inputs = [t for t in (x, *parameters) if t.requires_grad]
        found = iter(gradients_of([out], inputs, [grad]))
        return None, *(next(found) if t.requires_grad else None for t in (x, *parameters))


class Thrifty(nn.Module):
    """A network of parts that, with ``recompute``, keeps of each part what goes in and nothing of what is inside."""

    recompute = False

    @property
    def thrifty(self) -> bool:
        """Whether this pass is one of training that keeps little."""
        return self.recompute and self.training and torch.is_grad_enabled()

    def part(self, net: nn.Module, x: Tensor, method: str = "forward") -> Tensor:
        """Return net(x), or what another method of it returns."""
        work: Callable[[Tensor], Tensor] = net if method == "forward" else getattr(net, method)
        if self.thrifty:
            kept: Tensor = _Again.apply(work, x, *net.parameters())  # type: ignore[no-untyped-call]
            return kept
        return work(x)
