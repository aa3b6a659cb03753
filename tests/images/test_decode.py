"""Every kind of stored pixel arrives as what it means."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from cflowtool.errors import InputError
from cflowtool.images import Picture, read, write

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (4, 6), dtype=np.uint8)
COLOUR = RANDOM.integers(0, 256, (4, 6, 3), dtype=np.uint8)
WIDE = RANDOM.integers(0, 65536, (4, 6, 3), dtype=np.uint16)


def saved(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def test_one_bit_becomes_black_and_white_grey() -> None:
    picture = read(saved(Image.fromarray(GREY > 127)))
    assert np.array_equal(picture.pixels[..., 0], np.where(GREY > 127, 255, 0))


@pytest.mark.parametrize("form", ["PNG", "GIF", "TIFF", "BMP"])
def test_grey_stays_grey(form: str) -> None:
    assert read(saved(Image.fromarray(GREY), form)).pixels[..., 0].tolist() == GREY.tolist() or form == "GIF"


def test_a_palette_becomes_colour_and_its_clear_entry_alpha() -> None:
    image = Image.fromarray(COLOUR).quantize(8)
    wanted = np.asarray(image.convert("RGB"))
    assert np.array_equal(read(saved(image)).pixels, wanted)
    for form in ("PNG", "GIF"):
        picture = read(saved(image, form, transparency=3))
        assert picture.alpha is not None
        assert np.array_equal(picture.alpha == 0, np.asarray(image) == 3)


def test_a_transparent_colour_becomes_alpha_at_8_and_16_bits() -> None:
    picture = read(saved(Image.fromarray(COLOUR), transparency=tuple(int(v) for v in COLOUR[1, 2])))
    assert picture.alpha is not None and picture.alpha[1, 2] == 0 and picture.alpha.sum() == 255 * 23
    wide = read(saved(Image.fromarray(WIDE[..., 0]), transparency=int(WIDE[1, 2, 0])))
    assert wide.alpha is not None and wide.alpha[1, 2] == 0 and wide.alpha[0, 0] == 65535


def test_cmyk_becomes_srgb_with_a_note(icc: bytes) -> None:
    image = Image.new("CMYK", (4, 4), (255, 0, 0, 0))
    for options in ({}, {"icc_profile": icc}):
        picture = read(saved(image, "TIFF", **options))
        assert picture.pixels[0, 0].tolist() == [0, 255, 255] and picture.icc is None
        assert any("CMYK" in note for note in picture.notes)


def test_the_first_frame_is_taken_with_a_note() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    for form in ("TIFF", "PNG", "WEBP"):
        picture = read(saved(frames[0], form, save_all=True, append_images=frames[1:], lossless=True))
        assert picture.pixels[0, 0].tolist() == [255, 0, 0] and picture.notes == ["Only the first frame was read."]


def test_float_pixels_are_refused() -> None:
    with pytest.raises(InputError, match="not supported"):
        read(saved(Image.fromarray(GREY.astype(np.float32)), "TIFF"), name="a.tif")


def patched(data: bytes, tag: int, value: int) -> bytes:
    """A little-endian TIFF with the value of a SHORT tag replaced."""
    at = data.index(struct.pack("<HHI", tag, 3, 1)) + 8
    return data[:at] + struct.pack("<H", value) + data[at + 2 :]


def test_16_bit_white_is_zero_is_inverted_and_planes_are_refused(tmp_path: Any) -> None:
    write(tmp_path / "grey.tif", Picture(WIDE[..., :1]))
    inverted = read(patched((tmp_path / "grey.tif").read_bytes(), 262, 0))
    assert np.array_equal(inverted.pixels, 65535 - WIDE[..., :1])
    write(tmp_path / "colour.tif", Picture(WIDE))
    with pytest.raises(InputError, match=r"planes|decod"):
        read(patched((tmp_path / "colour.tif").read_bytes(), 284, 2))


def test_a_premultiplied_alpha_is_divided_out(tmp_path: Any) -> None:
    alpha = np.full((4, 6), 32768, np.uint16)
    write(tmp_path / "a.tif", Picture(WIDE // 2, alpha))
    picture = read(patched((tmp_path / "a.tif").read_bytes(), 338, 1))
    assert np.abs(picture.pixels.astype(int) - WIDE).max() <= 2


def test_a_grey_png_with_16_bit_alpha_stays_grey() -> None:
    both = WIDE[..., :2].astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in both)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 6, 4, 16, 4, 0, 0, 0))
    picture = read(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    assert picture.alpha is not None
    assert np.array_equal(picture.pixels[..., 0], both[..., 0]) and np.array_equal(picture.alpha, both[..., 1])


def test_a_lab_profile_is_still_handed_on() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert read(saved(Image.fromarray(COLOUR), icc_profile=profile)).icc == profile
