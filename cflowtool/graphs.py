"""Work on a GPU that repeats, launched as one: CUDA graphs, kept for the shapes that come back."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

Tensors = tuple[Tensor, ...]
Replay = Callable[[], object]
Capture = Callable[[Callable[[], Tensors]], tuple[Replay, Tensors]]

_LOG = logging.getLogger(__name__)
# A capture costs about four calls: a shape that comes only a few times must not pay for one.
_PLAIN = 2
# Each keeps its inputs and outputs in memory, and the largest of them what it computes in between.
_KEPT = 4
# One that was used within so many calls is not dropped for another: shapes in turn would all be captured all the time.
_IDLE = 64
_COUNTED = 256
# How far a first replay may be from the work, as a share of the largest value: libraries may round in another way.
_TOLERANCE = 1e-2
_UNCAPTURABLE = {
    torch.Tag.data_dependent_output,
    torch.Tag.dynamic_output_shape,
    torch.Tag.nondeterministic_seeded,
}


@dataclass
class _Recorded:
    """A graph, the tensors that it reads and writes, and the number of the call that used it last."""

    inputs: Tensors
    outputs: Tensors
    replay: Replay
    used: int = 0

    def __call__(self, inputs: Sequence[Tensor]) -> Tensors:
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        self.replay()
        # The next replay writes there again, and so may that of any other graph.
        return tuple(output.clone() for output in self.outputs)


class Graphs:
    """Calls work, the third time with the same shapes by capturing it, from then on by replaying that.

    The work must depend on its inputs and the ``key`` alone, not on a random state, and leave nothing behind but the
    tensors it returns; the key tells, too, of what state the parameters are that it reads. Where capturing or a replay
    fails, or the first replay does not give what the work gives, the work is called as ever, then and always after.
    """

    def __init__(self, capture: Capture, kept: int = _KEPT) -> None:
        self.capture, self.kept, self.calls = capture, kept, 0
        self.clear()

    def clear(self) -> None:
        """Forget all graphs, whose memory is then free."""
        self.recorded: OrderedDict[Hashable, _Recorded] = OrderedDict()
        self.counts: OrderedDict[Hashable, int] = OrderedDict()
        self.refused: set[Hashable] = set()

    @torch.no_grad()
    def __call__(self, work: Callable[..., Tensors], inputs: Sequence[Tensor], key: Hashable) -> Tensors:
        """Return work(*inputs), new tensors each time."""
        self.calls += 1
        kind = key, tuple((t.shape, t.stride(), t.dtype, t.device) for t in inputs)
        if kind in self.recorded or self._is_due(kind):
            try:
                return self._replayed(kind, work, inputs)
            except Exception as error:
                _LOG.debug("no CUDA graph of %s: %s", kind, error)
                self.refused.add(kind)
                self.recorded.pop(kind, None)
        return work(*inputs)

    def _is_due(self, kind: Hashable) -> bool:
        """Count the call; say whether enough came before it and there is room for a graph."""
        before = self.counts.pop(kind, 0)
        self.counts[kind] = before + 1
        if len(self.counts) > _COUNTED:
            self.counts.popitem(last=False)
        if before < _PLAIN or kind in self.refused:
            return False
        return len(self.recorded) < self.kept or self.calls - next(iter(self.recorded.values())).used > _IDLE

    def _replayed(self, kind: Hashable, work: Callable[..., Tensors], inputs: Sequence[Tensor]) -> Tensors:
        if kind not in self.recorded:
            own = tuple(t.clone() for t in inputs)
            replay, outputs = self.capture(lambda: work(*own))
            made = _Recorded(own, outputs, replay)
            if not _agree(made(inputs), work(*inputs)):
                raise Untrue("its replay gives something else")
            self.recorded[kind] = made
            if len(self.recorded) > self.kept:
                self.recorded.popitem(last=False)
        found = self.recorded[kind]
        found.used = self.calls
        self.recorded.move_to_end(kind)
        return found(inputs)


def _agree(found: Tensors, wanted: Tensors) -> bool:
    def close(one: Tensor, other: Tensor) -> bool:
        largest = float(other.abs().max()) if other.numel() else 0.0
        return torch.allclose(one, other, rtol=0, atol=_TOLERANCE * largest, equal_nan=True)

    return all(close(one, other) for one, other in zip(found, wanted, strict=True))


class Untrue(Exception):
    """A graph that does not compute what the work does."""


class Uncapturable(Exception):
    """Work that a graph cannot hold: known before a capture is begun, for one that fails can harm torch's memory."""


class Watch(TorchDispatchMode):
    """Notes what is read beside the inputs; raises Uncapturable for an operator that sees the CPU's memory, makes the
    CPU wait, or draws random numbers."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._made, self._read = WeakTensorKeyDictionary(), dict[int, Tensor]()

    @property
    def read(self) -> list[Tensor]:
        """Return the tensors that were there before, as others of the same memory."""
        return [t.detach() for t in self._read.values()]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if _UNCAPTURABLE & {*func.tags}:
            raise Uncapturable(str(func))
        out = func(*args, **(kwargs or {}))
        given, found = ([t for t in tree_leaves(tree) if isinstance(t, Tensor)] for tree in ((args, kwargs), out))
        if any(t.device.type == "cpu" for t in (*given, *found)):
            raise Uncapturable(f"{func} of the CPU's memory")
        self._read.update((id(t), t) for t in given if t not in self._made)
        for t in found:
            self._made[t] = True
        return out


@dataclass(frozen=True)
class _Graph:
    """A captured graph, and what it reads, which must stay where it is."""

    graph: torch.cuda.CUDAGraph
    read: list[Tensor]

    def __call__(self) -> None:
        self.graph.replay()


@contextmanager
def _no_copies_of_weights() -> Iterator[None]:
    # Copies in bf16 that autocast keeps for later are gone when a graph reads them again.
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)


class CudaCapture:
    """Captures work in a CUDA graph, on a stream of its own; all graphs share the memory for what they compute inside.

    That is safe because they run one after the other on one stream, and what they return is copied at once.
    """

    stream: torch.cuda.Stream | None = None

    def __init__(self) -> None:
        self.graphs: WeakSet[torch.cuda.CUDAGraph] = WeakSet()

    def __call__(self, work: Callable[[], Tensors]) -> tuple[Replay, Tensors]:
        """Return what replays the work, and the tensors where its results are then."""
        here = torch.cuda.current_stream()
        self.stream = self.stream or torch.cuda.Stream()
        self.stream.wait_stream(here)
        # What libraries prepare on a stream's first use is prepared before the capture, which could not hold it.
        with torch.cuda.stream(self.stream), _no_copies_of_weights(), Watch() as watch:
            work()
        here.wait_stream(self.stream)
        graph, pool = torch.cuda.CUDAGraph(), next((graph.pool() for graph in self.graphs), None)
        # A capture that fails leaves its own stream the current one. Other threads may go on using the GPU.
        capturing = torch.cuda.graph(graph, pool=pool, stream=self.stream, capture_error_mode="thread_local")
        with torch.cuda.stream(here), _no_copies_of_weights(), capturing:
            outputs = work()
        self.graphs.add(graph)
        return _Graph(graph, watch.read), outputs
