"""A GPU that is not there: fake tensors have shapes, strides and a device, and notice what a real one waits for."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

M = TypeVar("M", bound=nn.Module)
# With a number, for without one torch asks the driver which device is meant.
GPU = torch.device("cuda:0")
# What torch takes for a device, like a GPU not the CPU, and can differentiate on without one; autocast knows it not.
META = torch.device("meta")


@contextmanager
def _guarded() -> Iterator[None]:
    """Let torch built without CUDA switch to a GPU, which is to do nothing, as a build with CUDA does in fake mode."""
    library = Path(torch.__file__).parent / "lib" / "libc10.so"
    if not library.exists():
        pytest.skip("needs torch for Linux")
    guards = (ctypes.c_void_p * 21).in_dll(ctypes.CDLL(str(library)), "_ZN3c104impl26device_guard_impl_registryE")
    cuda, meta, before = 1, 14, guards[1]
    guards[cuda] = before or guards[meta]
    try:
        yield
    finally:
        guards[cuda] = before


def _without_autocast(stack: ExitStack) -> None:
    stack.enter_context(mock.patch("torch.autocast", lambda *_, **__: ExitStack()))
    stack.enter_context(mock.patch("torch.is_autocast_enabled", lambda *_: False))
    stack.enter_context(mock.patch("torch.get_autocast_dtype", lambda *_: torch.bfloat16))


@contextmanager
def fake(device: torch.device = GPU) -> Iterator[FakeTensorMode]:
    """Make every tensor of this block a fake one, on whatever device."""
    with ExitStack() as stack:
        stack.enter_context(_guarded())
        stack.enter_context(mock.patch.object(Tensor, "pin_memory", lambda self: self))
        if device.type == "meta":
            _without_autocast(stack)
        else:
            stack.enter_context(mock.patch("torch.cuda.amp.common.amp_definitely_not_available", lambda: False))
            stack.enter_context(mock.patch("torch.cuda.is_bf16_supported", lambda: True))
        yield stack.enter_context(FakeTensorMode())


@torch.no_grad()
def placed(module: M, mode: FakeTensorMode, device: torch.device) -> M:
    """Put a module's parameters and buffers on a device of a mode, outside of which it cannot be used any more."""
    for part in module.modules():
        for name, value in part._parameters.items():
            if value is not None:
                moved = mode.from_tensor(value).to(device)
                part._parameters[name] = nn.Parameter(moved, requires_grad=value.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = mode.from_tensor(buffer).to(device)
    return module
