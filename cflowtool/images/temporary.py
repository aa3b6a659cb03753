"""Temporary files that the next run can tell from those of a process that is still alive."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed anyway
    fcntl = None  # type: ignore[assignment]

PREFIX, SUFFIX = ".cflow-", ".part"
ATTEMPTS = 8

_live: set[Path] = set()


@contextlib.contextmanager
def temporary(folder: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file of the folder, open and locked for as long; whatever still has its name is removed in the end."""
    path, file = _created(folder)
    try:
        with file:
            yield path, file
    finally:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        _live.discard(path)


def sweep(folder: Path) -> list[Path]:
    """Removes what killed processes left in a folder, which is what nobody has a lock on; returns what it was."""
    if fcntl is None or not folder.is_dir():
        return []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(PREFIX) and entry.name.endswith(SUFFIX)]
        return [folder / name for name in names if _removed(folder / name)]
    return []


def discard() -> None:
    """Removes the files that this process is writing, when it is about to end in the middle of that."""
    for path in list(_live):
        with contextlib.suppress(OSError):
            path.unlink()


def _created(folder: Path) -> tuple[Path, BinaryIO]:
    # A sweep may take the file in the moment before it is locked; then it has no name any more, or somebody's lock.
    for left in reversed(range(ATTEMPTS)):
        path = folder / f"{PREFIX}{secrets.token_hex(8)}{SUFFIX}"
        _live.add(path)
        # Opened by name instead of by mkstemp so that the user's umask says who may read the result.
        file = path.open("xb")
        if left == 0 or (_locked(file.fileno()) and os.fstat(file.fileno()).st_nlink):
            return path, file
        file.close()
        _live.discard(path)
    raise AssertionError


def _locked(descriptor: int) -> bool:
    """Whether the lock is ours, or there are no locks on this file system."""
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True
    return True


def _removed(path: Path) -> bool:
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
                return True
        finally:
            os.close(descriptor)
    return False
