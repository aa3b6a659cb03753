"""One training run on several processes, equal to one process but for rounding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .errors import UsageError

_DRAWS: Sequence[Callable[..., Tensor]] = (torch.rand, torch.randn)


def accelerator(precision: str, cpu: bool) -> Accelerator:
    """Return the library's accelerator for this process, which is one of several under ``accelerate launch``."""
    # The first steps may train a part of the model alone.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)
    return Accelerator(mixed_precision=precision, cpu=cpu, kwargs_handlers=[unused])


class Share(TorchFunctionMode):
    """This process's rows of what is drawn for the whole batch: inside, every draw from a generator is of the whole.

    All processes have the same generators, so together they draw what one process would.
    """

    def __init__(self, index: int, count: int) -> None:
        super().__init__()
        self.index, self.count = index, count

    def rows(self, whole: Tensor) -> Tensor:
        """Return this process's rows of a batch; raise UsageError where it cannot be dealt out evenly."""
        if len(whole) % self.count:
            what = f"a batch of {len(whole)} cannot be dealt out to {self.count} processes"
            raise UsageError(what, "start as many processes as divide the recipe's batch")
        return whole.chunk(self.count)[self.index]

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        size = args if args and isinstance(args[0], int) else args[0] if args else ()
        if func not in _DRAWS or kwargs.get("generator") is None or not size:
            return func(*args, **kwargs)
        return self.rows(func((size[0] * self.count, *size[1:]), **kwargs))


def agreed(accelerator: Accelerator, seconds: float, signal: int) -> tuple[float, int]:
    """Return what all processes go by: the first one's clock, and the signal that any of them was sent, 0 for none."""
    if accelerator.num_processes == 1:
        return seconds, signal
    told = torch.tensor([[seconds, float(signal)]], dtype=torch.float32, device=accelerator.device)
    everyone = accelerator.gather(told)
    return float(everyone[0, 0]), int(everyone[:, 1].max())
