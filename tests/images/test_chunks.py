"""PNG chunks are split without loss, and only those with pixels are handed to the second decoder."""

import io

import numpy as np
from PIL import Image, PngImagePlugin

from cflowtool.images.chunks import SIGNATURE, chunks, pixels_only


def png() -> bytes:
    out, info = io.BytesIO(), PngImagePlugin.PngInfo()
    info.add_text("a", "b")
    image = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    image.save(out, "PNG", pnginfo=info, transparency=(0, 1, 2), dpi=(72, 72))
    return out.getvalue()


def test_the_chunks_are_the_file() -> None:
    assert SIGNATURE + b"".join(chunk for _, chunk in chunks(png())) == png()


def test_a_chunk_longer_than_the_file_ends_it() -> None:
    data = png()
    for cut in range(8, len(data)):
        assert [chunk for _, chunk in chunks(data[:cut])] == [chunk for _, chunk in chunks(data)][
            : len(list(chunks(data[:cut])))
        ]


def test_pixels_only_keeps_the_pixels() -> None:
    bare = pixels_only(png())
    assert {kind for kind, _ in chunks(bare)} == {b"IHDR", b"tRNS", b"IDAT", b"IEND"}
    same = [np.asarray(Image.open(io.BytesIO(data)).convert("RGBA")) for data in (png(), bare)]
    assert np.array_equal(*same)
