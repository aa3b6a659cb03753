"""Reads the next, works on this one and writes the last at once; results and order are those of one at a time."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

Job = TypeVar("Job")
Read = TypeVar("Read")
Made = TypeVar("Made")
Done = TypeVar("Done")
Value = TypeVar("Value")

AHEAD = 32
MOMENT = 1.0
TOGETHER = 16
# What may be held before the next is read, in the stages' units of size: pixels of all results, 48 million.
HELD = 48_000_000


@dataclass(frozen=True)
class Stages(Generic[Job, Read, Made, Done]):
    """The three steps. `work` gets inputs of one `group` (None: alone), at most TOGETHER, and gives as many back.

    `size` is how much memory something read takes up to its end; `start` is called in the working thread first."""

    read: Callable[[Job], Read]
    work: Callable[[Sequence[Read]], Sequence[Made]]
    write: Callable[[Made], Done]
    size: Callable[[Read], int]
    group: Callable[[Read], Hashable | None]
    start: Callable[[], None]


def overlapped(jobs: Iterable[Job], stages: Stages[Job, Read, Made, Done]) -> Generator[Done]:
    """Yields `write(work(read(job)))` of every job in their order; an error is raised when it is the job's turn.

    Each step has a thread and takes the jobs in order, so that the caller's thread is always ready for a signal. After
    an error or when the caller stops, nothing more is begun; what a step is in the middle of is not waited for. What is
    about to be written at an interrupt has a moment for it.
    """
    flow = _Flow(jobs, stages)
    try:
        yield from flow.results()
    finally:
        flow.close()


class _Budget:
    """What is held in memory between a job's reading and its end; it may be passed by the one job that is read last."""

    def __init__(self, limit: int) -> None:
        self.limit, self.held, self.closed = limit, 0, False
        self.changed = threading.Condition()

    def wait(self) -> None:
        with self.changed:
            self.changed.wait_for(lambda: self.held < self.limit or self.closed)

    def add(self, size: int) -> None:
        with self.changed:
            self.held += size
            self.changed.notify_all()

    def close(self) -> None:
        with self.changed:
            self.closed = True
            self.changed.notify_all()


class _Flow(Generic[Job, Read, Made, Done]):
    def __init__(self, jobs: Iterable[Job], stages: Stages[Job, Read, Made, Done]) -> None:
        self.jobs, self.stages = iter(jobs), stages
        self.budget, self.broken = _Budget(HELD), threading.Event()
        self.reader = ThreadPoolExecutor(1, "read")
        self.worker = ThreadPoolExecutor(1, "work", stages.start)
        self.writer = ThreadPoolExecutor(1, "write")
        self.reads: deque[Future[tuple[Read, int]]] = deque()
        self.writes: deque[Future[Done]] = deque()

    def results(self) -> Iterator[Done]:
        try:
            self._fill()
            while self.reads:
                yield from self._turn()
                while len(self.writes) > AHEAD:
                    yield self.writes.popleft().result()
            yield from self._rest()
        except GeneratorExit:
            raise
        except BaseException:
            yield from self._late()
            raise

    def _turn(self) -> Iterator[Done]:
        group = yield from self._next_group()
        working = self.worker.submit(self.stages.work, [read for read, _ in group])
        self._fill()
        made = yield from self._finished(working)
        for each, (_, size) in zip(made, group, strict=True):
            self.writes.append(self.writer.submit(self._write, each, size))

    def close(self) -> None:
        self.broken.set()
        self.budget.close()
        for pool in (self.reader, self.worker, self.writer):
            pool.shutdown(wait=False, cancel_futures=True)

    def _fill(self) -> None:
        for job in islice(self.jobs, AHEAD - len(self.reads)):
            self.reads.append(self.reader.submit(self._read, job))

    def _read(self, job: Job) -> tuple[Read, int]:
        self.budget.wait()
        if self.broken.is_set():
            raise CancelledError
        read = self.stages.read(job)
        size = self.stages.size(read)
        self.budget.add(size)
        return read, size

    def _write(self, made: Made, size: int) -> Done:
        if self.broken.is_set():
            raise CancelledError
        try:
            return self.stages.write(made)
        except BaseException:
            self.broken.set()
            raise
        finally:
            self.budget.add(-size)

    def _next_group(self) -> Generator[Done, None, list[tuple[Read, int]]]:
        first = yield from self._finished(self.reads.popleft())
        group, key = [first], self.stages.group(first[0])
        while key is not None and len(group) < TOGETHER and self._is_ready(key):
            group.append(self.reads.popleft().result())
        return group

    def _is_ready(self, key: Hashable) -> bool:
        following = self.reads[0] if self.reads else None
        if following is None or not following.done() or following.exception():
            return False
        return self.stages.group(following.result()[0]) == key

    def _finished(self, future: Future[Value]) -> Generator[Done, None, Value]:
        """What a future gives, all that is written until then yielded; before an error, all that is still to be."""
        while not future.done():
            awaited: list[Future[Any]] = [future, *islice(self.writes, 1)]
            wait(awaited, return_when=FIRST_COMPLETED)
            while self.writes and self.writes[0].done():
                yield self.writes.popleft().result()
        if future.exception():
            yield from self._rest()
        return future.result()

    def _late(self) -> Iterator[Done]:
        """What an interrupt found on its way to the disk and can have a moment to arrive there."""
        end = time.monotonic() + MOMENT
        while self.writes:
            last = self.writes.popleft()
            wait([last], max(0.0, end - time.monotonic()))
            if not last.done() or last.exception():
                return
            yield last.result()

    def _rest(self) -> Iterator[Done]:
        while self.writes:
            yield self.writes.popleft().result()
