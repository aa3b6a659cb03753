"""Decodes an image in this process; whatever is wrong with it is one InputError."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from cflowtool.errors import InputError, escape
from cflowtool.images import exif, xmp
from cflowtool.images.decode import arrays, texts
from cflowtool.images.picture import SMALLER, Limits, Picture
from cflowtool.images.quiet import captured_stderr

FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF")
ANOTHER = "give a PNG, JPEG, TIFF, WebP, BMP or GIF image that other programs open, too"
LARGEST_BLOCK = 8 * 2**20
MOST_TEXTS = 1000
# No code is shorter than a bit for 64 pixels, and libjpeg makes grey of whatever is missing.
MOST_PER_BYTE_JPEG = 512


def decode(data: bytes, limits: Limits, name: str) -> Picture:
    """`read` of a file's content in this process, which a damaged file may cost dear or even end."""
    reason = ""
    with captured_stderr() as noise:
        try:
            picture = _decode(data, limits)
        except InputError as error:
            raise InputError(f"{escape(name)}: {error.what}", error.hint, error.reason) from None
        except MemoryError:
            raise InputError(f"{escape(name)}: decoding it takes too much memory", SMALLER, "too-large") from None
        except Exception as error:  # Pillow's plugins raise nearly anything on damaged files
            reason = escape(error, 160) or "it is damaged"
    if reason:
        said = "it is not an image of a known format" if "cannot identify" in reason else reason
        raise InputError(f"{escape(name)}: {said}" + (f" ({noise.line})" if noise.line else ""), ANOTHER, "undecodable")
    picture.source = name
    if noise.line:
        picture.note(f"The decoder said: {noise.line}")
    return picture


def _decode(data: bytes, limits: Limits) -> Picture:
    with _pillow_limits(limits) as heard, Image.open(io.BytesIO(data), formats=FORMATS) as image:
        limits.check(image.height, image.width)
        if image.format == "JPEG" and image.width * image.height > MOST_PER_BYTE_JPEG * len(data):
            raise InputError("it ends before its pixels do", ANOTHER, "undecodable")
        # To find its EXIF Pillow loads a PNG, and a second load says nothing of what was wrong in the first.
        if image.format == "PNG":
            image.load()
        # Pillow turns TIFFs by itself while loading them, and OpenCV does so, too.
        turn = 1 if image.format == "TIFF" else exif.orientation(image)
        tags, packet = exif.carried(image), xmp.carried(image)
        image.load()
        picture = arrays(image, data, turn)
        picture.exif, picture.xmp, picture.text = tags, packet, texts(image)
        _drop_large(picture)
        # The further images in an MPO are previews and depth maps that a phone hides behind the photograph.
        if image.format != "MPO" and _has_second_frame(image):
            picture.note("Only the first frame was read.")
    # Other threads are at work, and warnings are recorded for all of them.
    for warning in [each for each in heard if "PIL" in Path(each.filename).parts][:1]:
        picture.note(f"The decoder said: {escape(warning.message, 200)}")
    return picture


def _drop_large(picture: Picture) -> None:
    """Leaves out what would be stored again in every result, though nobody can have meant it."""
    sizes = {name: len(getattr(picture, name) or b"") for name in ("icc", "exif", "xmp")}
    sizes["text"] = sum(len(key) + len(value) for key, value in picture.text.items())
    for name, size in sizes.items():
        if size > LARGEST_BLOCK or (name == "text" and len(picture.text) > MOST_TEXTS):
            setattr(picture, name, {} if name == "text" else None)
            picture.note(f"{size / 2**20:.0f} MiB of {name.upper()} were left out.")


def _has_second_frame(image: Image.Image) -> bool:
    try:
        image.seek(1)
    except Exception:  # mostly EOFError, but a damaged second frame is no reason to refuse the first
        return False
    return True


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
        raise InputError(f"more than the limit of {limits.megapixels:g} megapixels", SMALLER, "too-large") from None
    finally:
        Image.MAX_IMAGE_PIXELS = before
