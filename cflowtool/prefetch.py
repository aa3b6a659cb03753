"""Work done one step ahead of where it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class Prefetch(Generic[T]):
    """What ``make`` gives for step after step, each made in a thread while the step before it is in use.

    ``make`` is a function of the step alone, so the results are those of calling it.
    """

    def __init__(self, make: Callable[[int], T]) -> None:
        self.make = make
        self.pool = ThreadPoolExecutor(1, "prefetch")
        self.coming: dict[int, Future[T]] = {}

    def take(self, step: int) -> T:
        """Return what was made for a step, and begin with the next; whatever ``make`` raised is raised here."""
        ready = self.coming.pop(step, None)
        made = self.make(step) if ready is None else ready.result()
        self.coming = {step + 1: self.pool.submit(self.make, step + 1)}
        return made


def one_ahead(items: Iterable[T]) -> Iterator[T]:
    """Yield the items, each when the one after it has been made."""
    making = iter(items)
    for item in making:
        for following in making:
            yield item
            item = following
        yield item
