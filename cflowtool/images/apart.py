"""Decoding in a process of its own, which a hostile file may crash, stall or fill without harm to this one."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

from cflowtool.errors import InputError, escape
from cflowtool.images import here, worker
from cflowtool.images.picture import Limits, Picture

ROOT = Path(__file__).parents[2]
CODE = f"import sys; sys.path.append({str(ROOT)!r}); from cflowtool.images.worker import main; main()"
ANOTHER = "save it again with another program, or leave it out"
OUT_OF_TIME = (getattr(signal, "SIGPROF", None), getattr(signal, "SIGALRM", None))

_lock = threading.RLock()
_wanted = False
_process: subprocess.Popen[bytes] | None = None
_owner = 0


def guard(wanted: bool = True) -> None:
    """From now on `read` decodes in another process, which is started at once, or, without `wanted`, in this one."""
    global _wanted
    _wanted = wanted
    if wanted:
        with _lock, contextlib.suppress(OSError):
            _alive()
    else:
        close()


def guarded() -> bool:
    """Whether `read` decodes in another process."""
    return _wanted


def close() -> None:
    """Ends the other process, whatever it is doing."""
    global _process
    process, _process = _process, None
    if process is not None and _owner == os.getpid():
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream:
                with contextlib.suppress(OSError):
                    stream.close()


def decode(data: bytes, limits: Limits, name: str) -> Picture:
    """`here.decode` in the other process.

    Raises InputError as that does, and where the file ends the other process: by a crash, or by more seconds than
    `limits` allow.
    """
    with _lock:
        try:
            process = _alive()
        except OSError:  # no process to be had is no reason to refuse the image
            return here.decode(data, limits, name)
        try:
            worker.send(_stream(process.stdin), *worker.request(data, limits, name))
            head, parts = worker.receive(_stream(process.stdout))
        except (EOFError, BrokenPipeError):
            raise _died(process, limits, name) from None
        except BaseException:  # an interrupt in the middle of a message: the next one needs a process without it
            close()
            raise
    if "error" in head:
        raise InputError(*head["error"])
    return worker.unpacked(head, parts, name)


def _alive() -> subprocess.Popen[bytes]:
    global _process, _owner
    if _process is None or _owner != os.getpid() or _process.poll() is not None:
        pipe = subprocess.PIPE
        command = [sys.executable, "-P", "-c", CODE]
        _process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
        _owner = os.getpid()
        atexit.register(close)
    return _process


def _stream(found: IO[bytes] | None) -> IO[bytes]:
    assert found is not None
    return found


def _died(process: subprocess.Popen[bytes], limits: Limits, name: str) -> InputError:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
    code = process.returncode
    close()
    if code is not None and -code in OUT_OF_TIME:
        what = f"{escape(name)}: decoding it takes more than {limits.seconds:g} seconds"
        return InputError(what, "save it again with another program, or raise the limit", "too-large")
    how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
    return InputError(f"{escape(name)}: its decoder crashed ({how})", ANOTHER, "undecodable")
