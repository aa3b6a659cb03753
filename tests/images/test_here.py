"""What one decoder forgives another must not hide, and metadata are carried as far as anyone can have meant them."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from cflowtool.errors import InputError
from cflowtool.images import read
from cflowtool.images.here import LARGEST_BLOCK, MOST_TEXTS

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 40, 3), dtype=np.uint8))


def saved(form: str, **options: Any) -> bytes:
    out = io.BytesIO()
    NOISE.save(out, form, **options)
    return out.getvalue()


def exif_of(turn: int) -> bytes:
    tags = Image.Exif()
    tags[274] = turn
    return tags.tobytes()


@pytest.mark.parametrize("exif", [None, exif_of(6)])
def test_a_png_with_broken_pixels_is_refused_whatever_its_exif(exif: bytes | None) -> None:
    whole = saved("PNG", **({"exif": exif} if exif else {}))
    at = whole.index(b"IDAT")
    length = struct.unpack(">I", whole[at - 4 : at])[0]
    body = b"IDAT" + bytes(length)
    broken = whole[:at] + body + struct.pack(">I", zlib.crc32(body)) + whole[at + 8 + length :]
    assert read(whole).size == ((40, 32) if exif else (32, 40))
    with pytest.raises(InputError, match="broken"):
        read(broken)


def test_a_jpeg_too_short_for_its_size_is_refused() -> None:
    whole = saved("JPEG", quality=5)
    frame = whole.index(b"\xff\xc0") + 5
    with pytest.raises(InputError, match="ends before"):
        read(whole[:frame] + struct.pack(">HH", 7000, 7000) + whole[frame + 4 :])


@pytest.mark.parametrize("options", [{"progressive": True}, {"optimize": True}, {}])
def test_no_jpeg_is_smaller_than_that(options: dict[str, Any]) -> None:
    out = io.BytesIO()
    Image.new("L", (4000, 4000), 128).save(out, "JPEG", quality=1, **options)
    assert read(out.getvalue()).size == (4000, 4000)


def test_large_metadata_are_left_out_with_a_note() -> None:
    large = b"x" * (LARGEST_BLOCK + 1)
    picture = read(saved("WEBP", xmp=large, icc_profile=large))
    assert picture.xmp is picture.icc is None
    assert picture.notes == ["8 MiB of ICC were left out.", "8 MiB of XMP were left out."]
    assert read(saved("WEBP", xmp=large[:-1])).xmp == large[:-1]


def test_a_flood_of_texts_is_left_out() -> None:
    for count in (MOST_TEXTS, MOST_TEXTS + 1):
        texts = PngImagePlugin.PngInfo()
        for number in range(count):
            texts.add_text(str(number), "x")
        assert len(read(saved("PNG", pnginfo=texts)).text) == (count if count <= MOST_TEXTS else 0)
