"""Where tensors live, how they get there and back, and to what precision it computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
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


def pinned(values: Tensor, device: torch.device) -> Tensor:
    """Return values for a GPU in memory that it copies from by itself, channels last; for other devices as they are."""
    if device.type != "cuda" or not values.is_cpu:
        return values
    return values.contiguous(memory_format=torch.channels_last).pin_memory()


def to_device(values: Tensor, device: torch.device, layout: torch.memory_format = torch.preserve_format) -> Tensor:
    """Return values on a device, in a layout; a GPU copies them when it gets there, and nobody waits for that."""
    if device.type != "cuda" or not values.is_cpu:
        return values.to(device, memory_format=layout)
    if layout is not torch.preserve_format:
        values = values.contiguous(memory_format=layout)
    # The allocator of pinned memory gives nothing away again before the copies out of it are done.
    return values.pin_memory().to(device, non_blocking=True)


@cache
def _results(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


def fetch(values: Sequence[Tensor]) -> Callable[[], list[Tensor]]:
    """Begin to copy tensors of one device to the CPU, and return what waits for them and returns them.

    In the meantime a GPU goes on with what it is given next.
    """
    if not values or values[0].device.type != "cuda":
        here = [value.cpu() for value in values]
        return lambda: here
    device = values[0].device
    stream = _results(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        copies = [torch.empty_like(value, device="cpu", pin_memory=True) for value in values]
        for copy, value in zip(copies, values, strict=True):
            copy.copy_(value, non_blocking=True)
        done = stream.record_event()
    return lambda: _arrived(done, values, copies)


def _arrived(done: torch.cuda.Event, values: Sequence[Tensor], copies: list[Tensor]) -> list[Tensor]:
    # Until here ``values`` must be kept: their memory is the other stream's to give away.
    done.synchronize()
    return copies


@contextmanager
def _ieee() -> Iterator[None]:
    # torch names it in two ways, of which the older one is refused once the newer one was used.
    newer = getattr(torch.backends.cudnn, "conv", None)
    where, name, exactly = (newer, "fp32_precision", "ieee") if newer else (torch.backends.cudnn, "allow_tf32", False)
    before = getattr(where, name)
    setattr(where, name, exactly)
    try:
        yield
    finally:
        setattr(where, name, before)


def exact(device: torch.device) -> AbstractContextManager[None]:
    """Return a context in which a GPU's convolutions of fp32 are fp32: by default they keep 10 bits of 23 (TF32)."""
    return _ieee() if device.type == "cuda" else nullcontext()


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
