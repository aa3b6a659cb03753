"""Where tensors live."""

from __future__ import annotations

import torch

from .errors import UsageError, escape


def choose_device(name: str) -> torch.device:
    """Return the device of ``auto|cpu|cuda|mps``; raise UsageError when it is not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, present in there.items() if present)
    if not there.get(name, False):
        raise UsageError(f"no {escape(name)} device here", "use --device auto or cpu")
    return torch.device(name)
