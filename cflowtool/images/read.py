"""Reads an image file or its bytes into a Picture; whatever is wrong with it is one InputError."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cflowtool.errors import InputError, escape
from cflowtool.images import apart, here
from cflowtool.images.here import ANOTHER
from cflowtool.images.picture import SMALLER, Limits, Picture

DEFAULT = Limits()


def read(source: Path | bytes, limits: Limits = DEFAULT, name: str = "") -> Picture:
    """The first frame of an image, upright, with its alpha, ICC profile, EXIF, XMP and PNG text; 16 bits stay 16 bits.

    `source` is a file or its content, `name` what messages call it. Decoded in this process, or after `apart.guard()`
    in one of its own. Raises InputError for anything that is missing, no regular file, not an image, damaged, or
    beyond `limits`.
    """
    name = name or (str(source) if isinstance(source, Path) else "the given bytes")
    data = content(source, limits, name) if isinstance(source, Path) else source
    _check_length(len(data), limits, escape(name))
    return apart.decode(data, limits, name) if apart.guarded() else here.decode(data, limits, name)


def content(path: Path, limits: Limits = DEFAULT, name: str = "") -> bytes:
    """The bytes of a regular file; raises InputError for anything else, and beyond the limit of `limits`."""
    label = escape(name or path)
    # O_NONBLOCK so that opening a FIFO which nobody writes to does not wait forever.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        with open(path, "rb", opener=lambda p, _: os.open(p, flags)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                what = f"{label}: not a regular file"
                raise InputError(what, "give an image file, or pipe its content in as -", "unreadable")
            _check_length(status.st_size, limits, label)
            return file.read(int(limits.mebibytes * 2**20) + 1)
    except FileNotFoundError:
        raise InputError(f"{label}: no such file", "check the name and the folder", "missing") from None
    except IsADirectoryError:
        raise InputError(f"{label}: a folder, not an image", "name the files inside it", "unreadable") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        what = f"{label}: cannot be read: {escape(reason)}"
        raise InputError(what, "check its permissions and the disk", "unreadable") from None


def _check_length(length: int, limits: Limits, label: str) -> None:
    if length == 0:
        raise InputError(f"{label}: the file is empty", ANOTHER, "undecodable")
    if length > limits.mebibytes * 2**20:
        size = f"{length / 2**20:.1f} MiB or more"
        raise InputError(f"{label}: {size}, the limit is {limits.mebibytes:g} MiB", SMALLER, "too-large")
