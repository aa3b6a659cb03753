"""The part of EXIF that still holds for a restored, upright image."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from cflowtool.images.picture import Array

ORIENTATION = ExifTags.Base.Orientation
DESCRIPTION = ExifTags.Base.ImageDescription
SUB_FOLDERS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
# A TIFF keeps its own layout (strips, sizes, compression) in the same folder, so only these of its tags travel.
FROM_TIFF = (
    *(DESCRIPTION, ExifTags.Base.Make, ExifTags.Base.Model, ExifTags.Base.Software, ExifTags.Base.DateTime),
    *(ExifTags.Base.Artist, ExifTags.Base.Copyright, ExifTags.Base.XResolution, ExifTags.Base.YResolution),
    ExifTags.Base.ResolutionUnit,
)
# Cameras and phones leave tags of a TIFF's layout in the EXIF of a JPEG, too, which would break a TIFF made of it.
LAYOUT = frozenset({*range(254, 267), 273, *range(277, 282), 284, *range(288, 294), 301, *range(317, 348)})
LAYOUT |= {*range(512, 533), 559, 700, 34675}


def orientation(image: Image.Image) -> int:
    """How the stored pixels lie, 1 to 8; 1 when nothing readable says so."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # EXIF is not worth losing an image for, and Pillow raises nearly anything on a damaged one
        return 1
    return value if value in range(1, 9) else 1


def upright(pixels: Array, turn: int) -> Array:
    """Applies EXIF orientation `turn` to (H, W) or (H, W, C)."""
    if turn in (5, 6, 7, 8):
        pixels = np.swapaxes(pixels, 0, 1)
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if turn in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def carried(image: Image.Image) -> bytes | None:
    """The EXIF block to hand on: orientation 1, no thumbnail, no pixel sizes; None without one or when damaged."""
    try:
        found = image.getexif()
        kept = Image.Exif()
        kept.endian = found.endian
        kept.update(_sound({tag: found[tag] for tag in found if image.format != "TIFF" or tag in FROM_TIFF}))
        for folder in SUB_FOLDERS:
            kept.pop(folder, None)
            if entries := _sound(found.get_ifd(folder)):
                entries.pop(ExifTags.Base.ExifImageWidth, None)
                entries.pop(ExifTags.Base.ExifImageHeight, None)
                kept.get_ifd(folder).update(entries)
        if not len(kept) and not any(kept.get_ifd(folder) for folder in SUB_FOLDERS):
            return None
        kept[ORIENTATION] = 1
        return kept.tobytes()
    except Exception:  # as above
        return None


def _sound(entries: Mapping[int, Any]) -> dict[int, Any]:
    """Those of a folder's entries that can be stored again; one damaged entry is no reason to lose the others."""
    found = {}
    for tag, value in entries.items():
        alone = Image.Exif()
        with contextlib.suppress(Exception):
            alone[tag] = value
            alone.tobytes()
            found[tag] = value
    return found


def described(block: bytes | None, text: dict[str, str]) -> bytes | None:
    """`block` with `text` as its ImageDescription, unless it has one already."""
    tags = parsed(block)
    if not text or DESCRIPTION in tags:
        return block
    tags[DESCRIPTION] = "; ".join(f"{key}: {value}" for key, value in text.items())
    return tags.tobytes()


def parsed(block: bytes | None) -> Image.Exif:
    """The tags of an EXIF block."""
    tags = Image.Exif()
    if block:
        tags.load(block)
    return tags
