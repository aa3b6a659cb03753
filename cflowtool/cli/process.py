"""What a command sets for its whole process: signals, the allocator, threads."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from pathlib import Path
from types import FrameType

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


class Terminated(BaseException):
    """SIGTERM arrived; not an Exception, so that nothing on the way takes it for an error of one input."""


def prepare() -> None:
    """Makes SIGTERM unwind like Ctrl-C and keeps large buffers in the process."""
    signal.signal(signal.SIGTERM, _terminate)
    keep_buffers()


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def keep_buffers() -> bool:
    """Tells glibc not to give large buffers back after every operator, which costs more than many operators do."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018 - other C libraries number the parameters in their own way
        return bool(libc.mallopt(M_MMAP_THRESHOLD, 2**30) and libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
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
    """Uses no more threads than there are processors to use; `deterministic` gives the same bytes for any number."""
    import torch

    if "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > usable_cpus():
        torch.set_num_threads(usable_cpus())
    if deterministic:
        torch.backends.mkldnn.set_flags(False)
        # Does what use_deterministic_algorithms does, without importing the compiler for seconds.
        torch.set_deterministic_debug_mode("error")
