"""Reads an image file or its bytes into a Picture; whatever is wrong with it is one InputError."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from cflowtool.errors import InputError, escape
from cflowtool.images import exif
from cflowtool.images.decode import arrays, texts
from cflowtool.images.picture import Limits, Picture
from cflowtool.images.quiet import captured_stderr

FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF")
ANOTHER = "give a PNG, JPEG, TIFF, WebP, BMP or GIF image that other programs open, too"
DEFAULT = Limits()
SMALLER = "make it smaller first, or raise the limit"


def read(source: Path | bytes, limits: Limits = DEFAULT, name: str = "") -> Picture:
    """The first frame of an image, upright, with its alpha, ICC profile, EXIF and PNG text; 16 bits stay 16 bits.

    `source` is a file or its content, `name` what messages call it. Raises InputError for anything that is missing,
    no regular file, not an image, damaged, or beyond `limits`.
    """
    name = name or (str(source) if isinstance(source, Path) else "the given bytes")
    data = _content(source, limits, escape(name)) if isinstance(source, Path) else source
    _check_length(len(data), limits, escape(name))
    reason = ""
    with captured_stderr() as noise:
        try:
            picture = _decode(data, limits)
        except InputError as error:
            raise InputError(f"{escape(name)}: {error.what}", error.hint) from None
        except Exception as error:  # Pillow's plugins raise nearly anything on damaged files
            reason = escape(error, 160) or type(error).__name__
    if reason:
        said = "it is not an image of a known format" if "cannot identify" in reason else reason
        raise InputError(f"{escape(name)}: {said}" + (f" ({noise.line})" if noise.line else ""), ANOTHER)
    picture.source = name
    if noise.line:
        picture.note(f"The decoder said: {noise.line}")
    return picture


def _content(path: Path, limits: Limits, label: str) -> bytes:
    # O_NONBLOCK so that opening a FIFO which nobody writes to does not wait forever.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        with open(path, "rb", opener=lambda p, _: os.open(p, flags)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"{label}: not a regular file", "give an image file, or pipe its content in as -")
            _check_length(status.st_size, limits, label)
            return file.read(int(limits.mebibytes * 2**20) + 1)
    except FileNotFoundError:
        raise InputError(f"{label}: no such file", "check the name and the folder") from None
    except IsADirectoryError:
        raise InputError(f"{label}: a folder, not an image", "name the files inside it") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{label}: cannot be read: {escape(reason)}", "check its permissions and the disk") from None


def _check_length(length: int, limits: Limits, label: str) -> None:
    if length == 0:
        raise InputError(f"{label}: the file is empty", ANOTHER)
    if length > limits.mebibytes * 2**20:
        size = f"{length / 2**20:.1f} MiB or more"
        raise InputError(f"{label}: {size}, the limit is {limits.mebibytes:g} MiB", SMALLER)


def _decode(data: bytes, limits: Limits) -> Picture:
    with _pillow_limits(limits) as heard, Image.open(io.BytesIO(data), formats=FORMATS) as image:
        _check_size(image.size, limits)
        # Pillow turns TIFFs by itself while loading them, and OpenCV does so, too.
        turn = 1 if image.format == "TIFF" else exif.orientation(image)
        tags = exif.carried(image)
        image.load()
        picture = arrays(image, data, turn)
        picture.exif, picture.text = tags, texts(image)
        # The further images in an MPO are previews and depth maps that a phone hides behind the photograph.
        if image.format != "MPO" and _has_second_frame(image):
            picture.note("Only the first frame was read.")
    for warning in heard[:1]:
        picture.note(f"The decoder said: {escape(warning.message, 200)}")
    return picture


def _has_second_frame(image: Image.Image) -> bool:
    try:
        image.seek(1)
    except Exception:  # mostly EOFError, but a damaged second frame is no reason to refuse the first
        return False
    return True


def _check_size(size: tuple[int, int], limits: Limits) -> None:
    width, height = size
    if max(size) > limits.side:
        raise InputError(f"{width} x {height} pixels, the limit is {limits.side} a side", SMALLER)
    if width * height > limits.megapixels * 1e6:
        megapixels = f"{width * height / 1e6:.1f} megapixels"
        raise InputError(f"{megapixels}, the limit is {limits.megapixels:g}", SMALLER)


@contextlib.contextmanager
def _pillow_limits(limits: Limits) -> Iterator[list[warnings.WarningMessage]]:
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max(1, int(limits.megapixels * 1e6))
    try:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield heard
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise InputError(f"more than the limit of {limits.megapixels:g} megapixels", SMALLER) from None
    finally:
        Image.MAX_IMAGE_PIXELS = before
