"""Writes pictures and other results whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from cflowtool.errors import OutputError, escape
from cflowtool.images.encode import ENCODERS
from cflowtool.images.picture import Picture
from cflowtool.images.temporary import temporary


def write(
    path: Path, picture: Picture, text: dict[str, str] | None = None, overwrite: bool = False, quality: int = 95
) -> None:
    """Writes `picture` in the format of the suffix, .png, .jpg, .jpeg, .webp, .tif or .tiff, with ICC and EXIF.

    PNG and TIFF keep 16 bits and alpha, WebP alpha; whatever a format cannot keep is added to the picture's notes.
    `text` becomes tEXt entries of a PNG and the ImageDescription elsewhere; `quality` (1 to 100) is for JPEG and WebP.
    Raises OutputError for an unknown suffix, an image the format cannot hold, and as `write_bytes`.
    """
    encode = ENCODERS.get(path.suffix.lower())
    if encode is None:
        raise OutputError(f"{escape(path)}: no format for this suffix", f"use one of {', '.join(ENCODERS)}")
    _refuse(path, overwrite)
    try:
        data = encode(picture, text or {}, quality)
    except (OSError, ValueError) as error:
        height, width = picture.size
        what = f"{escape(path)}: {width} x {height} pixels cannot be stored in this format: {escape(error, 160)}"
        raise OutputError(what, "write a PNG or TIFF instead") from error
    write_bytes(path, data, overwrite)


def write_bytes(path: Path, data: bytes, overwrite: bool = False) -> None:
    """Writes `data` to a temporary name in the same folder (made if missing), fsyncs it and renames it to `path`.

    Raises OutputError when the file exists and `overwrite` is not set, also when another process made it meanwhile,
    when `path` is a symlink or a folder, and when the disk refuses; no temporary file is left then.
    """
    _refuse(path, overwrite)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary(path.parent) as (part, file):
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            _refuse(path, overwrite)
            _rename(part, path, overwrite)
    except OSError as error:
        what = f"{escape(path)}: cannot be written: {escape(error.strerror or error)}{_free(path)}"
        raise OutputError(what, "check the space and the permissions there, or name another folder") from error


def _refuse(path: Path, overwrite: bool) -> None:
    try:
        link, folder, there = path.is_symlink(), path.is_dir(), path.exists()
    except OSError:  # a name too long or a folder that may not be entered: opening it says so better
        return
    if link:
        raise OutputError(f"{escape(path)}: a symlink", "remove it, or write into another folder")
    if folder:
        raise OutputError(f"{escape(path)}: a folder of this name is in the way", "choose another name")
    if there and not overwrite:
        raise _exists(path)


def _rename(part: Path, path: Path, overwrite: bool) -> None:
    if not overwrite:
        try:
            os.link(part, path)
            return
        except FileExistsError:
            raise _exists(path) from None
        except OSError:  # a file system without links: then two processes may race for one name
            pass
    part.replace(path)


def _exists(path: Path) -> OutputError:
    hint = "add --overwrite or --skip-existing, or rename"
    return OutputError(f"{escape(path)}: exists already", hint, "output-exists")


def _free(path: Path) -> str:
    for folder in path.parents:
        with contextlib.suppress(OSError):
            return f" ({shutil.disk_usage(folder).free / 2**20:.0f} MiB free)"
    return ""
