"""What a format can keep comes back bit for bit; what it cannot is noted."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cflowtool.images import Picture, read
from cflowtool.images.encode import ENCODERS
from cflowtool.images.exif import parsed

KINDS = [(bits, channels, alpha) for bits in (8, 16) for channels in (1, 3) for alpha in (False, True)]


def again(picture: Picture, suffix: str, text: dict[str, str] | None = None) -> Picture:
    return read(ENCODERS[suffix](picture, text or {}, 95))


@pytest.mark.parametrize(("bits", "channels", "alpha"), KINDS)
@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("size", [(7, 5), (1, 1), (40, 33)])
def test_png_and_tiff_come_back_bit_for_bit(
    make: Any, icc: bytes, exif_block: bytes, suffix: str, bits: int, channels: int, alpha: bool, size: tuple[int, int]
) -> None:
    picture = make(bits, channels, alpha, size, icc=icc, exif=exif_block)
    back = again(picture, suffix)
    if picture.notes:  # 16-bit grey with alpha, which no reader takes from a TIFF
        assert (suffix, bits, channels, alpha) == (".tif", 16, 1, True)
        back.pixels = back.pixels[..., :1]
    assert back.bits == bits and np.array_equal(back.pixels, picture.pixels)
    assert np.array_equal(back.alpha, picture.alpha) if alpha else back.alpha is None
    # libpng rightly remarks that the RGB profile of this test does not belong into a grey PNG
    assert back.icc == icc and (channels == 1 or back.notes == [])
    tags = parsed(back.exif)
    assert tags[271] == "Maker" and tags.get_ifd(0x8769)[33434] == 0.5 and tags.get_ifd(0x8825)[1] == "N"


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
@pytest.mark.parametrize(("bits", "channels", "alpha"), KINDS)
def test_jpeg_and_webp_keep_what_they_can(
    make: Any, icc: bytes, exif_block: bytes, suffix: str, bits: int, channels: int, alpha: bool
) -> None:
    picture = make(bits, channels, alpha, (16, 16), icc=icc, exif=exif_block)
    back = again(picture, suffix, {"model": "cnf"})
    assert back.bits == 8 and back.icc == icc
    tags = parsed(back.exif)
    assert tags[271] == "Maker" and tags[270] == "model: cnf"
    assert (back.alpha is not None) == (alpha and suffix == ".webp")
    assert len(picture.notes) == (bits == 16) + (alpha and suffix == ".jpg")


def test_jpeg_lays_a_clear_picture_on_white() -> None:
    for kind, top in ((np.uint8, 255), (np.uint16, 65535)):
        clear = Picture(np.zeros((16, 16, 3), kind), np.zeros((16, 16), kind))
        solid = Picture(np.zeros((16, 16, 3), kind), np.full((16, 16), top, kind))
        assert again(clear, ".jpg").pixels.min() == 255 and again(solid, ".jpg").pixels.max() == 0


def test_webp_keeps_alpha_exactly(make: Any) -> None:
    picture = make(8, 3, True, (16, 16))
    assert np.array_equal(again(picture, ".webp").alpha, picture.alpha)


@pytest.mark.parametrize(("bits", "channels", "alpha"), KINDS)
def test_png_text_comes_back(make: Any, bits: int, channels: int, alpha: bool) -> None:
    picture = make(bits, channels, alpha, text={"Comment": "kept", "seed": "1"})
    assert again(picture, ".png", {"seed": "2", "name": "ü图"}).text == {"Comment": "kept", "seed": "2", "name": "ü图"}


@pytest.mark.parametrize(("bits", "channels", "alpha"), KINDS)
def test_others_can_read_our_tiff(make: Any, tmp_path: Path, bits: int, channels: int, alpha: bool) -> None:
    tifffile = pytest.importorskip("tifffile")
    picture = make(bits, channels, alpha)
    values = tifffile.imread(io.BytesIO(ENCODERS[".tiff"](picture, {"a": "b"}, 95))).reshape(7, 5, -1)
    assert np.array_equal(values[..., :channels], picture.pixels)
    assert not alpha or np.array_equal(values[..., -1], picture.alpha)


def test_too_much_exif_for_jpeg_is_left_out_with_a_note(make: Any) -> None:
    tags = Image.Exif()
    tags[270] = "x" * 70000
    picture = make(exif=tags.tobytes())
    assert again(picture, ".jpg").exif is None and "EXIF" in picture.notes[0]


def test_the_same_picture_gives_the_same_bytes(make: Any, icc: bytes) -> None:
    for suffix, encode in ENCODERS.items():
        assert encode(make(16, icc=icc), {"a": "b"}, 95) == encode(make(16, icc=icc), {"a": "b"}, 95), suffix
