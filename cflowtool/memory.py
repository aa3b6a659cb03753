"""How much memory there is, how much was used, and whether it ran out."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

with contextlib.suppress(ImportError):  # there is none on Windows
    import resource

_GROUPS = Path("/sys/fs/cgroup")
_SAYINGS = ("can't allocate memory", "out of memory", "insufficient memory", "failed to allocate")


def available(device: torch.device) -> int | None:
    """Return how many bytes a process can still have on a device, None where nothing says so.

    On a CPU it is the least of what the machine has left, what is left of the limits of the control groups, and of
    the address space and the data that the process may have (RLIMIT_AS, RLIMIT_DATA).
    """
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    found = [*_of_machine(), *_of_groups(_GROUPS), *_of_process()]
    return max(0, min(found)) if found else None


def _of_machine() -> Iterator[int]:
    with contextlib.suppress(OSError, ValueError):
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text("ascii").splitlines())
        if "MemAvailable" in fields:
            yield 1024 * int(fields["MemAvailable"].split()[0])


def _of_groups(root: Path) -> Iterator[int]:
    """Yield what is left in the control group of the process and in those that it is part of (version 2), or in the
    one of version 1."""
    with contextlib.suppress(OSError):
        own = [line.split("::", 1)[1] for line in Path("/proc/self/cgroup").read_text().splitlines() if "::" in line]
        inside = root / (own[0].strip("/") if own else "")
        for folder in [inside, *inside.parents]:
            if folder.is_relative_to(root):
                yield from _left(folder, "memory.max", "memory.current", "inactive_file")
    old = root / "memory"
    yield from _left(old, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def _left(folder: Path, limit: str, used: str, reclaimable: str) -> Iterator[int]:
    with contextlib.suppress(OSError, ValueError):
        most, now = (int((folder / name).read_text("ascii")) for name in (limit, used))
        cache = 0
        with contextlib.suppress(OSError, ValueError):
            stat = dict(line.split() for line in (folder / "memory.stat").read_text("ascii").splitlines())
            cache = int(stat.get(reclaimable, 0))
        yield most - now + cache


def _of_process() -> Iterator[int]:
    with contextlib.suppress(OSError, ValueError, NameError):
        pages = [int(count) for count in Path("/proc/self/statm").read_text("ascii").split()]
        for kind, used in ((resource.RLIMIT_AS, pages[0]), (resource.RLIMIT_DATA, pages[5])):
            most = resource.getrlimit(kind)[0]
            if most != resource.RLIM_INFINITY:
                yield most - used * os.sysconf("SC_PAGE_SIZE")


def peak() -> str:
    """Return in words the most memory that the process has had, and the most that its tensors have had on a GPU."""
    said = []
    with contextlib.suppress(NameError):
        unit = 1 if sys.platform == "darwin" else 1024
        said.append(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20:.0f} MiB")
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        said.append(f"{torch.cuda.max_memory_allocated() / 2**20:.0f} MiB on the GPU")
    return ", ".join(said) or "unknown"


def ran_out(error: BaseException) -> bool:
    """Return whether an error says that memory ran out: Python's, numpy's, torch's on a CPU or GPU, or OpenCV's."""
    known = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    return known or any(saying in str(error).lower() for saying in _SAYINGS)


def give_back() -> None:
    """Free what nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
