"""What a command sets for its whole process: signals, the allocator, threads."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TypeVar

M_MXFAST, M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = 1, -1, -3
M_ARENA_MAX = -8


Value = TypeVar("Value")

# A terminal, a shell and timeout(1) may each pass the same interrupt on: what comes this soon is not a second one.
ECHO = 0.3


class Terminated(BaseException):
    """SIGTERM arrived; not an Exception, so that nothing on the way takes it for an error of one input."""


def prepare() -> None:
    """Makes SIGINT and SIGTERM unwind the command, keeps messages apart from what decoders print to file descriptor 2,
    and keeps large buffers in the process."""
    handler = Interruption()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)
    with contextlib.suppress(OSError, ValueError):
        sys.stderr = os.fdopen(os.dup(2), "w", 1, encoding=sys.stderr.encoding, errors="backslashreplace")
    keep_buffers()


class Interruption:
    """A signal handler: the first signal raises KeyboardInterrupt or Terminated, the next ends the process at once."""

    def __init__(self) -> None:
        self.first: float | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.first is None:
            self.first = now
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated
        if now - self.first > ECHO:
            leave(128 + number)


def aside(work: Callable[[], Value]) -> Value:
    """Does long work in another thread, so that this one can answer signals, and returns its result or its error."""
    from concurrent.futures import ThreadPoolExecutor

    import torch

    pool = ThreadPoolExecutor(1, "work", torch.set_num_threads, (torch.get_num_threads(),))
    try:
        return pool.submit(work).result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def leave(code: int) -> None:
    """Ends the process now, whatever its threads are in the middle of, and leaves no file or process of its behind."""
    for module, clean_up in (("cflowtool.images.temporary", "discard"), ("cflowtool.images.apart", "close")):
        with contextlib.suppress(Exception):
            getattr(sys.modules[module], clean_up)()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)


def end(code: int) -> None:
    """Ends the process after all that is registered for its end, without taking torch apart, which takes 0.4 s."""
    if "torch" in sys.modules:
        atexit._run_exitfuncs()
        leave(code)
    sys.exit(code)


def keep_buffers() -> bool:
    """Tells glibc not to give large buffers back after every operator, which costs more than many operators do.

    Threads share one arena: glibc would map those of another anew for every large buffer, whatever the thresholds.
    Small blocks do not lie in bins of their own, all of which it would go through whenever a large buffer is freed.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018 - other C libraries number the parameters in their own way
        wanted = {M_MMAP_THRESHOLD: 2**30, M_TRIM_THRESHOLD: 2**31 - 1, M_ARENA_MAX: 1, M_MXFAST: 0}
        return all(libc.mallopt(parameter, value) for parameter, value in wanted.items())
    return False


def usable_cpus() -> int:
    """The processors that this process may use: its affinity, and the quota of its control group."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text("ascii").split()
        if quota != "max":
            count = min(count, max(1, int(quota) // int(period)))
    return count


def set_up_torch(deterministic: bool = False) -> None:
    """Uses no more threads than there are processors to use; `deterministic` gives the same bytes for any number.

    Images are decoded in a process of their own from then on."""
    from cflowtool import images

    images.guard()
    import torch

    if "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > usable_cpus():
        torch.set_num_threads(usable_cpus())
    if deterministic:
        torch.backends.mkldnn.set_flags(False)
        # Does what use_deterministic_algorithms does, without importing the compiler for seconds.
        torch.set_deterministic_debug_mode("error")
