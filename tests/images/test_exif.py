"""Orientation is applied once, and only EXIF that still holds goes on."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageOps

from cflowtool.images import exif, read
from cflowtool.images.encode import ENCODERS

COLOUR = np.random.default_rng(0).integers(0, 256, (3, 5, 3), dtype=np.uint8)


def saved(values: np.ndarray, form: str, **tags: object) -> bytes:
    block = Image.Exif()
    block.update({int(tag[1:]): value for tag, value in tags.items()})
    out = io.BytesIO()
    Image.fromarray(values).save(out, form, exif=block.tobytes(), **({"lossless": True} if form == "WEBP" else {}))
    return out.getvalue()


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_every_orientation_is_made_upright(turn: int, form: str) -> None:
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(saved(COLOUR, "PNG", t274=turn)))))
    picture = read(saved(COLOUR, form, t271="Maker", t274=turn))
    assert np.array_equal(picture.pixels, wanted)
    tags = exif.parsed(picture.exif)
    assert tags[274] == 1 and tags[271] == "Maker"


@pytest.mark.parametrize("turn", range(1, 9))
def test_alpha_turns_with_the_colours(turn: int) -> None:
    both = np.concatenate([COLOUR, COLOUR[..., :1]], axis=2)
    picture = read(saved(both, "PNG", t274=turn))
    assert picture.alpha is not None and np.array_equal(picture.alpha, picture.pixels[..., 0])


def test_eight_turns_are_eight_different_pictures() -> None:
    assert len({exif.upright(COLOUR, turn).tobytes() for turn in range(1, 9)}) == 8


def test_stale_sizes_are_dropped_and_nonsense_orientation_is_1() -> None:
    block = Image.Exif()
    block[274] = 77
    block.get_ifd(0x8769).update({40962: 5, 40963: 3, 33434: 0.5})
    out = io.BytesIO()
    Image.fromarray(COLOUR).save(out, "PNG", exif=block.tobytes())
    kept = exif.parsed(read(out.getvalue()).exif)
    assert kept[274] == 1 and dict(kept.get_ifd(0x8769)) == {33434: 0.5}


def test_no_exif_stays_none() -> None:
    for form in ("PNG", "TIFF", "BMP"):
        out = io.BytesIO()
        Image.fromarray(COLOUR).save(out, form)
        assert read(out.getvalue()).exif is None


def test_damaged_exif_does_not_cost_the_image() -> None:
    out = io.BytesIO()
    Image.fromarray(COLOUR).save(out, "PNG", exif=b"Exif\0\0garbage that is no TIFF folder")
    picture = read(out.getvalue())
    assert np.array_equal(picture.pixels, COLOUR) and picture.exif is None


def test_a_damaged_entry_does_not_cost_the_others() -> None:
    """The resolution of a block made by hand is text, which no block can hold."""
    entries = struct.pack("<HHI4s", 271, 2, 4, b"abc\0") + struct.pack("<HHI4s", 282, 2, 4, b"300\0")
    block = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + entries + bytes(4)
    out = io.BytesIO()
    Image.fromarray(COLOUR).save(out, "JPEG", exif=block)
    assert dict(exif.parsed(read(out.getvalue()).exif)) == {271: "abc", 274: 1}


def test_layout_tags_in_a_photograph_do_not_break_a_tiff_made_of_it() -> None:
    tags = Image.Exif()
    tags[271] = "Maker"
    for tag in (254, 259, 266, 273, 279, 317, 322, 323, 324, 325, 330, 338, 347, 513, 514, 530, 531, 532):
        tags[tag] = 512
    picture = read(saved(COLOUR, "PNG"))
    picture.exif = tags.tobytes()
    back = read(ENCODERS[".tif"](picture, {}, 95))
    assert np.array_equal(back.pixels, COLOUR) and exif.parsed(back.exif)[271] == "Maker"


def test_a_description_is_added_but_never_replaced() -> None:
    first = exif.described(None, {"model": "cnf", "seed": "1"})
    assert exif.parsed(first)[270] == "model: cnf; seed: 1"
    assert exif.described(first, {"model": "other"}) == first
    assert exif.described(None, {}) is None
