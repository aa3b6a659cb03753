"""Writes pictures and other results whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path

from cflowtool.errors import OutputError, escape
from cflowtool.images.encode import ENCODERS
from cflowtool.images.picture import Picture


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

    Raises OutputError when the file exists and `overwrite` is not set, when `path` is a symlink or a folder, and when
    the disk refuses; no temporary file is left then.
    """
    _refuse(path, overwrite)
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _store(temporary, data)
            _refuse(path, overwrite)
            temporary.replace(path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
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
        raise OutputError(f"{escape(path)}: exists already", "add --overwrite or --skip-existing, or rename")


def _store(path: Path, data: bytes) -> None:
    # Opened by hand instead of by mkstemp so that the user's umask says who may read the result.
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _free(path: Path) -> str:
    for folder in path.parents:
        with contextlib.suppress(OSError):
            return f" ({shutil.disk_usage(folder).free / 2**20:.0f} MiB free)"
    return ""
