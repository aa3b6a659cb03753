"""cflowtool: image restoration by conditional normalizing flows, where the answer is a distribution."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Found when asked for, so that importing the package does not import torch.
_PUBLIC = {"from_pretrained": "pretrained", "Pretrained": "pretrained"}

__all__ = ["Pretrained", "__version__", "from_pretrained"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
