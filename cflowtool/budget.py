"""Building a model no larger than what is stored for it, whatever its config says."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as registry
from torch.overrides import TorchFunctionMode

LARGEST_NUMBER = 4096
LONGEST_TEXT = 200
MOST_ENTRIES = 1000
# A module may make a tensor and replace it, and hold parts of a tensor apart while it builds.
ROOM = 4
SPARE_VALUES = 2**20
SPARE_MODULES = 1000

_SIZED = frozenset({torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.full, torch.eye})


def check_numbers(config: object) -> None:
    """Raise ValueError for numbers, texts and lists in a config that no model has any use for."""
    left, count = [config], 0
    while left:
        value, count = left.pop(), count + 1
        if count > MOST_ENTRIES:
            raise ValueError("its config has too many entries")
        if isinstance(value, dict):
            left += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple):
            left += value
        elif isinstance(value, str) and len(value) > LONGEST_TEXT:
            raise ValueError("a text in its config is too long")
        elif isinstance(value, int | float) and not abs(value) <= LARGEST_NUMBER:
            raise ValueError("a number in its config is too large")


@contextmanager
def limited(tensors: int, values: int) -> Iterator[None]:
    """Raise ValueError inside, before it is built, for a model of many more tensors or values than these."""
    most = ROOM * values + SPARE_VALUES
    counts = {"tensors": 0, "modules": 0}

    def count(kind: str, limit: int) -> Callable[[nn.Module, str, Tensor | nn.Module | None], None]:
        def one(owner: nn.Module, name: str, value: Tensor | nn.Module | None) -> None:
            counts[kind] += value is not None
            if counts[kind] > limit:
                raise ValueError("its config describes a larger model than it holds")

        return one

    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # torch remarks on the empty tensors of a config that is refused anyway
        stack.enter_context(_Factories(most))
        for hook in (
            registry.register_module_parameter_registration_hook,
            registry.register_module_buffer_registration_hook,
        ):
            stack.callback(hook(count("tensors", ROOM * tensors + 100)).remove)
        modules = count("modules", ROOM * tensors + SPARE_MODULES)
        stack.callback(registry.register_module_module_registration_hook(modules).remove)
        yield


class _Factories(TorchFunctionMode):
    """Refuses to make a tensor of more values than ``most``."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _SIZED and _size(args, kwargs) ** (2 if func is torch.eye else 1) > self.most:
            raise ValueError("its config describes larger tensors than it holds")
        return func(*args, **kwargs)


def _size(args: Sequence[Any], kwargs: dict[str, Any]) -> int:
    size = kwargs.get("size", args)
    if size and isinstance(size[0], list | tuple):
        size = size[0]
    return prod(abs(number) for number in size if type(number) is int)
