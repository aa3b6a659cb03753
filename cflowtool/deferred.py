"""Signals that wait until what must not be interrupted is done."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Deferred:
    """Holds SIGINT and SIGTERM back inside its block; the last one is raised again at its end."""

    number: int = 0

    def __enter__(self) -> Deferred:
        if threading.current_thread() is threading.main_thread():
            self.before = {n: signal.signal(n, self._note) for n in (signal.SIGINT, signal.SIGTERM)}
        else:
            self.before = {}
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        if self.number and error[0] is None:
            signal.raise_signal(self.number)
