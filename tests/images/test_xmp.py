"""The XMP packet survives every pair of formats, and no longer says that the picture has to be turned."""

import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from cflowtool.images import Picture, read
from cflowtool.images.encode import ENCODERS
from cflowtool.images.xmp import LIMIT_JPEG

COLOUR = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
PACKET = (
    '<?xpacket begin="\ufeff"?><x:xmpmeta xmlns:x="adobe:ns:meta/">ü &amp; \r\n</x:xmpmeta><?xpacket end="w"?>'.encode()
)


@pytest.mark.parametrize("first", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("second", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_it_comes_through_byte_for_byte(first: str, second: str, kind: type) -> None:
    picture = read(ENCODERS[first](Picture(COLOUR.astype(kind), xmp=PACKET), {}, 95))
    assert picture.xmp == PACKET
    assert read(ENCODERS[second](picture, {"a": "b"}, 95)).xmp == PACKET


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    "said", ['tiff:Orientation="6"', "<tiff:Orientation>6</tiff:Orientation>", "tiff:Orientation = '6'"]
)
def test_an_orientation_is_reset(form: str, said: str) -> None:
    out = io.BytesIO()
    tags = Image.Exif()
    tags[274] = 6
    packet = f"<x {said} other='6'/>".encode()
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", packet.decode())
    extras = {"tiffinfo": {700: packet, 274: 6}} if form == "TIFF" else {"xmp": packet, "exif": tags.tobytes()}
    Image.fromarray(COLOUR).save(out, form, **extras, **({"pnginfo": info} if form == "PNG" else {}))
    picture = read(out.getvalue())
    assert picture.size == (24, 16)
    assert picture.xmp == packet.replace(b"6", b"1", 1)


def test_an_orientation_that_xmp_alone_has_is_applied_once() -> None:
    out = io.BytesIO()
    Image.fromarray(COLOUR).save(out, "JPEG", xmp=b'<x tiff:Orientation="8"/>')
    picture = read(out.getvalue())
    assert picture.size == (24, 16)
    for suffix in (".png", ".jpg", ".webp", ".tif"):
        assert read(ENCODERS[suffix](picture, {}, 95)).size == (24, 16)


def test_what_jpeg_has_no_room_for_is_left_out_with_a_note() -> None:
    for size in (LIMIT_JPEG, LIMIT_JPEG + 1):
        picture = Picture(COLOUR, xmp=b"x" * size)
        kept = read(ENCODERS[".jpg"](picture, {}, 95)).xmp
        assert kept == (picture.xmp if size == LIMIT_JPEG else None)
        assert len(picture.notes) == (size > LIMIT_JPEG)
