"""Where tensors live."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .errors import UsageError, escape


def choose_device(name: str) -> torch.device:
    """Return the device of ``auto|cpu|cuda|mps``; raise UsageError when it is not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, present in there.items() if present)
    if not there.get(name, False):
        raise UsageError(f"no {escape(name)} device here", "use --device auto or cpu")
    return torch.device(name)


class _OneConvolution(TorchFunctionMode):
    """Makes every convolution in one way, where torch has several for small images and chooses by the batch."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is torch.conv2d:
            return _convolved(*args, **(kwargs or {}))
        if func is torch.mkldnn_convolution:
            x, weight, bias, padding, stride, dilation, groups = args
            return _convolved(x, weight, bias, stride, padding, dilation, groups)
        return func(*args, **(kwargs or {}))


def _convolved(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    if x.dtype != torch.float32 or isinstance(padding, str):
        return torch.conv2d(x, weight, bias, stride, padding, dilation, groups)
    dilation = 1 if weight.shape[-2:] == (1, 1) else dilation
    pads, steps, gaps = ([n] * 2 if isinstance(n, int) else list(n) for n in (padding, stride, dilation))
    # The strides of a single image do not tell its layout: an order of their own keeps the choice from them.
    x = x.contiguous(memory_format=torch.channels_last)
    return torch.mkldnn_convolution(x, weight, bias, pads, steps, gaps, groups)


def one_convolution(device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which a CPU's convolutions give the same bits for a batch as for its images one by one."""
    by_onednn = device.type == "cpu" and torch.backends.mkldnn.is_available() and torch._C._get_mkldnn_enabled()
    return _OneConvolution() if by_onednn else nullcontext()
