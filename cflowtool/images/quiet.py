"""Keeps what native decoders print to file descriptor 2 off the screen."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import BinaryIO

from cflowtool.errors import escape

# File descriptor 2 and Pillow's size limit belong to the whole process, so only one decode at a time may touch them.
DECODING = threading.RLock()
KEPT = 4096


class Noise:
    """What was printed, folded to one line."""

    line: str = ""


@contextlib.contextmanager
def captured_stderr() -> Iterator[Noise]:
    """Sends file descriptor 2 to a temporary file inside the block; the yielded Noise is filled when it ends."""
    noise = Noise()
    with DECODING, tempfile.TemporaryFile() as sink:
        saved = _redirect(sink)
        try:
            yield noise
        finally:
            if saved is not None:
                _restore(saved)
                noise.line = _fold(sink)


def _redirect(sink: BinaryIO) -> int | None:
    try:
        sys.stderr.flush()
        saved = os.dup(2)
    except (OSError, ValueError, AttributeError):  # a service may run with stderr closed
        return None
    os.dup2(sink.fileno(), 2)
    return saved


def _restore(saved: int) -> None:
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    os.dup2(saved, 2)
    os.close(saved)


def _fold(sink: BinaryIO) -> str:
    sink.seek(0)
    lines = [line.strip() for line in sink.read(KEPT).decode("utf-8", "replace").splitlines() if line.strip()]
    if not lines:
        return ""
    return escape(lines[0], 200) + (" (and more of the kind)" if len(lines) > 1 else "")
