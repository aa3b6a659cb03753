"""A folder of several hundred files that no image tool should meet, and a run of cflow over them.

python tests/stress/hostile_images.py make FOLDER     writes the files
python tests/stress/hostile_images.py run FOLDER      runs `cflow denoise` over them and checks what became of each
"""

import argparse
import io
import json
import os
import random
import resource
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

ROOT = Path(__file__).parents[2]
RANDOM = np.random.default_rng(0)
COLOUR = RANDOM.integers(0, 256, (24, 32, 3), dtype=np.uint8)
SUFFIX = {"PNG": "png", "JPEG": "jpg", "TIFF": "tif", "WEBP": "webp", "BMP": "bmp", "GIF": "gif"}
MOST_SECONDS_A_FILE, MOST_MEBIBYTES = 120, 2560
Files = Iterator[tuple[str, bytes]]


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    """The bytes of a file."""
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def colour(mode: str = "RGB") -> Image.Image:
    """A small picture of noise."""
    return Image.fromarray(COLOUR).convert(mode)


# PNG


def chunk(kind: bytes, body: bytes, length: int | None = None, crc: int = 0) -> bytes:
    """A PNG chunk, its length and checksum right unless told."""
    size = struct.pack(">I", len(body) if length is None else length)
    return size + kind + body + struct.pack(">I", zlib.crc32(kind + body) ^ crc)


def png(
    width: int = 8,
    height: int = 8,
    depth: int = 8,
    kind: int = 2,
    *extra: bytes,
    lace: int = 0,
    body: bytes | None = None,
) -> bytes:
    """A PNG with any header, chunks before its pixels, and any pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, lace))
    pixels = chunk(b"IDAT", zlib.compress(bytes((1 + 3 * 8) * 8)) if body is None else body)
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + pixels + chunk(b"IEND", b"")


def pngs() -> Files:
    bomb = zlib.compress(bytes(100 * 2**20), 9)
    yield "wide", png(2**31 - 1, 1)
    yield "negative", png(2**31, 2**31)
    yield "no-width", png(0, 8)
    yield "no-height", png(8, 0)
    yield "900-megapixels", png(30000, 30000, body=zlib.compress(bytes(2**20)))
    yield "60-megapixels-without-pixels", png(7700, 7700)
    for kind in (b"zTXt", b"iTXt", b"iCCP"):
        head = {b"zTXt": b"a\0\0", b"iTXt": b"a\0\1\0\0\0", b"iCCP": b"a\0\0"}[kind]
        yield f"bomb-{kind.decode()}", png(8, 8, 8, 2, chunk(kind, head + bomb))
        yield f"bombs-{kind.decode()}", png(8, 8, 8, 2, *[chunk(kind, head + zlib.compress(bytes(2**20 - 1)))] * 100)
    yield "text-20-MiB", png(8, 8, 8, 2, chunk(b"tEXt", b"a\0" + b"x" * 20 * 2**20))
    yield "texts", png(8, 8, 8, 2, *[chunk(b"tEXt", b"k%d\0v" % k) for k in range(100_000)])
    yield "xmp-20-MiB", png(8, 8, 8, 2, chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"x" * 20 * 2**20))
    yield "exif-garbage", png(8, 8, 8, 2, chunk(b"eXIf", b"garbage"))
    yield "exif-cyclic", png(8, 8, 8, 2, chunk(b"eXIf", cyclic_exif()))
    yield "icc-garbage", png(8, 8, 8, 2, chunk(b"iCCP", b"a\0\0" + zlib.compress(b"x" * 3000)))
    yield "length-too-long", png(8, 8, 8, 2, chunk(b"tEXt", b"a\0b", length=2**31 - 1))
    yield "length-negative", png(8, 8, 8, 2, chunk(b"tEXt", b"a\0b", length=2**32 - 1))
    yield "checksum", png(8, 8, 8, 2, chunk(b"tEXt", b"a\0b", crc=1))
    yield "critical-unknown", png(8, 8, 8, 2, chunk(b"ABCD", b"a"))
    yield "no-palette", png(8, 8, 8, 3, body=zlib.compress(bytes(9 * 8)))
    yield "palette-short", png(8, 8, 8, 3, chunk(b"PLTE", b"abc"), body=zlib.compress(b"\0\xff" * 36))
    yield "palette-odd", png(8, 8, 8, 3, chunk(b"PLTE", b"abcd"), body=zlib.compress(bytes(9 * 8)))
    yield (
        "trns-long",
        png(8, 8, 8, 3, chunk(b"PLTE", b"abc"), chunk(b"tRNS", b"x" * 300), body=zlib.compress(bytes(72))),
    )
    yield "trns-short", png(8, 8, 8, 2, chunk(b"tRNS", b"x"))
    yield "trns-16", png(8, 8, 16, 2, chunk(b"tRNS", b"\0\1\0\2\0\3"), body=zlib.compress(bytes(49 * 8)))
    for depth in (1, 2, 3, 4, 8, 16, 32):
        for kind in (0, 1, 2, 3, 4, 6, 7):
            yield f"depth-{depth}-kind-{kind}", png(8, 8, depth, kind, body=zlib.compress(bytes(65 * 8)))
    yield "interlaced-16", png(5, 5, 16, 2, lace=1, body=zlib.compress(RANDOM.bytes(500)))
    yield "interlace-7", png(lace=7)
    yield "filter-200", png(body=zlib.compress(b"\xc8" * 200))
    yield "pixels-garbage", png(body=b"garbage")
    yield "pixels-too-few", png(body=zlib.compress(bytes(10)))
    yield "pixels-too-many", png(body=zlib.compress(bytes(2**20)))
    yield "pixels-bomb", png(body=bomb)
    yield "pixels-none", png()[:33] + chunk(b"IEND", b"")
    yield "two-headers", png(8, 8, 8, 2, png()[8:33])
    yield "animated-empty", png(8, 8, 8, 2, chunk(b"acTL", struct.pack(">II", 0, 0)))
    yield "animated-endless", png(8, 8, 8, 2, chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)))
    frame = struct.pack(">IIIIIHHBB", 0, 2**31 - 1, 2**31 - 1, 99, 99, 0, 0, 9, 9)
    yield "animated-outside", png(8, 8, 8, 2, chunk(b"acTL", struct.pack(">II", 2, 0)), chunk(b"fcTL", frame))


def cyclic_exif() -> bytes:
    """EXIF whose sub-folder pointers lead back to its beginning."""
    entry = struct.pack("<HHII", 0x8769, 4, 1, 8) + struct.pack("<HHII", 0x8825, 4, 1, 8)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", 2) + entry + struct.pack("<I", 8)


# JPEG


def segment(marker: int, body: bytes) -> bytes:
    """A JPEG segment."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def scans(data: bytes, times: int, size: tuple[int, int] | None = None) -> bytes:
    """A progressive JPEG whose last scan is repeated, and which may claim another size."""
    at = data.rindex(b"\xff\xda")
    repeated = data[:at] + data[at:-2] * times + b"\xff\xd9"
    if size:
        frame = repeated.index(b"\xff\xc2") + 5
        repeated = repeated[:frame] + struct.pack(">HH", *size) + repeated[frame + 4 :]
    return repeated


def jpegs() -> Files:
    plain, slow = saved(colour(), "JPEG"), saved(colour(), "JPEG", progressive=True)
    frame = plain.index(b"\xff\xc0")
    for name, marker in (("extended", 1), ("progressive", 2), ("lossless", 3), ("arithmetic", 9), ("arithmetic-2", 10)):
        yield f"is-{name}", plain[: frame + 1] + bytes([0xC0 + marker]) + plain[frame + 2 :]
    for bits in (0, 2, 12, 16, 255):
        yield f"bits-{bits}", plain[: frame + 4] + bytes([bits]) + plain[frame + 5 :]
    for height, width in ((65535, 65535), (0, 32), (24, 0), (7700, 7700), (24, 40000)):
        yield f"{width}x{height}", plain[: frame + 5] + struct.pack(">HH", height, width) + plain[frame + 9 :]
    for parts in (0, 2, 5, 255):
        yield f"components-{parts}", plain[: frame + 9] + bytes([parts]) + plain[frame + 10 :]
    yield "sampling-0", plain[: frame + 11] + b"\0" + plain[frame + 12 :]
    yield "sampling-255", plain[: frame + 11] + b"\xff" + plain[frame + 12 :]
    for times in (100, 10_000):
        yield f"scans-{times}", scans(slow, times)
    yield "scans-of-50-megapixels", scans(slow, 20_000, (7000, 7000))
    yield "scans-of-4-megapixels", scans(slow, 20_000, (2000, 2000))
    yield "exif-cyclic", plain[:2] + segment(0xE1, b"Exif\0\0" + cyclic_exif()) + plain[2:]
    yield "exif-garbage", plain[:2] + segment(0xE1, b"Exif\0\0" + RANDOM.bytes(5000)) + plain[2:]
    yield "exif-huge", plain[:2] + segment(0xE1, b"Exif\0\0" + b"x" * 65000) * 300 + plain[2:]
    yield "icc-parts", plain[:2] + segment(0xE2, b"ICC_PROFILE\0\x01\xff" + b"x" * 65000) * 255 + plain[2:]
    yield "icc-garbage", plain[:2] + segment(0xE2, b"ICC_PROFILE\0\x01\x01" + b"x" * 900) + plain[2:]
    yield "xmp-garbage", plain[:2] + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<" + b"\xff" * 900) + plain[2:]
    yield "comments", plain[:2] + segment(0xFE, b"\x1b[31mred\n" * 100) * 20_000 + plain[2:]
    yield "mpf-garbage", plain[:2] + segment(0xE2, b"MPF\0" + RANDOM.bytes(500)) + plain[2:]
    yield "photoshop-garbage", plain[:2] + segment(0xED, b"Photoshop 3.0\0" + b"8BIM\xff\xff" * 900) + plain[2:]
    yield "starts", b"\xff\xd8" * 100_000
    yield "start-only", b"\xff\xd8\xff"
    yield "fill", plain[:2] + b"\xff" * 2**20 + plain[2:]
    yield "no-end", plain[:-2]
    yield "no-tables", plain[:2] + plain[frame:]
    yield "no-huffman", plain.replace(b"\xff\xc4", b"\xff\xfe")
    yield "restarts", plain[:-2] + b"\xff\xd0\xff\xd7" * 50_000 + b"\xff\xd9"
    yield "cmyk", saved(colour("CMYK"), "JPEG")
    yield "cmyk-icc-garbage", saved(colour("CMYK"), "JPEG", icc_profile=b"x" * 3000)
    ycck = saved(colour("CMYK"), "JPEG")
    yield "ycck", ycck.replace(b"Adobe\0d\0\0\0\0\0", b"Adobe\0d\0\0\0\0\x02")


# TIFF


def tiff(
    *entries: tuple[int, int, int, int], following: int = 0, pixels: int = 2000, count: int | None = None
) -> bytes:
    """A little-endian TIFF of 8 x 8 grey pixels, tags (tag, type, count, value) added or replaced."""
    tags = {256: (4, 1, 8), 257: (4, 1, 8), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1)}
    tags |= {273: (4, 1, 1024), 277: (3, 1, 1), 278: (4, 1, 8), 279: (4, 1, 64)}
    tags |= {tag: rest for tag, *rest in entries}
    body = b"".join(struct.pack("<HHII", tag, *rest) for tag, rest in sorted(tags.items()))
    folder = struct.pack("<H", len(tags) if count is None else count) + body + struct.pack("<I", following)
    return (b"II*\0" + struct.pack("<I", 8) + folder).ljust(1024, b"\0") + RANDOM.bytes(pixels)


def tiffs() -> Files:
    yield "cyclic", tiff(following=8)
    yield "cyclic-far", tiff(following=1024)
    yield "folders", endless_folders(50_000)
    yield "count", tiff(count=65535)
    for side in (0, 2**16, 2**31, 2**32 - 1):
        yield f"width-{side}", tiff((256, 4, 1, side))
        yield f"height-{side}", tiff((257, 4, 1, side))
        yield f"rows-{side}", tiff((278, 4, 1, side))
        yield f"offset-{side}", tiff((273, 4, 1, side))
        yield f"bytes-{side}", tiff((279, 4, 1, side))
        yield f"offsets-{side}", tiff((273, 4, side, 8))
        yield f"description-{side}", tiff((270, 2, side, 8))
    for bits in (0, 1, 2, 3, 4, 6, 10, 12, 14, 16, 24, 32, 64, 65535):
        yield f"bits-{bits}", tiff((258, 3, 1, bits))
    for form in (2, 3, 4, 5, 6):
        for bits in (8, 16, 32, 64):
            yield f"sample-{form}-{bits}", tiff((258, 3, 1, bits), (339, 3, 1, form))
    for compression in (2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34661, 34676, 34712, 34892, 34925, 50000, 50001, 50002, 9):
        yield f"compression-{compression}", tiff((259, 3, 1, compression))
    for photometric in (0, 2, 3, 4, 5, 6, 8, 9, 32803, 32844, 32845, 34892):
        yield f"photometric-{photometric}", tiff((262, 3, 1, photometric))
        yield f"photometric-{photometric}-3", tiff((262, 3, 1, photometric), (277, 3, 1, 3), (258, 3, 1, 8))
    for samples in (0, 2, 3, 4, 5, 65535):
        yield f"samples-{samples}", tiff((277, 3, 1, samples))
        yield f"planes-{samples}", tiff((277, 3, 1, samples), (284, 3, 1, 2))
    for side in (0, 8, 16, 2**31):
        yield f"tile-{side}", tiff((322, 4, 1, side), (323, 4, 1, side), (324, 4, 1, 1024), (325, 4, 1, 64))
    for predictor in (2, 3, 9):
        yield f"predictor-{predictor}", tiff((317, 3, 1, predictor), (259, 3, 1, 8))
    yield "old-jpeg", tiff((259, 3, 1, 6), (262, 3, 1, 6), (513, 4, 1, 1024), (514, 4, 1, 900), (512, 3, 1, 1))
    yield "jpeg-tables", tiff((259, 3, 1, 7), (347, 7, 500, 1024))
    yield "exif-cyclic", tiff((34665, 4, 1, 8), (34853, 4, 1, 8))
    yield "sub-folders-cyclic", tiff((330, 4, 1, 8))
    yield "orientation-99", tiff((274, 3, 1, 99))
    yield "icc-past-the-end", tiff((34675, 7, 2**30, 8))
    yield "xmp-past-the-end", tiff((700, 1, 2**30, 8))
    yield "bigtiff", b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**62) + RANDOM.bytes(500)
    for name, how in (
        ("lzw", "tiff_lzw"),
        ("deflate", "tiff_adobe_deflate"),
        ("packbits", "packbits"),
        ("jpeg", "jpeg"),
    ):
        whole = saved(colour(), "TIFF", compression=how)
        yield f"{name}", whole
        yield f"{name}-cut", whole[: len(whole) // 2]
    for mode in ("1", "L", "P", "RGBA", "CMYK", "YCbCr", "LAB", "F", "I", "I;16"):
        image = Image.new(mode, (8, 8)) if mode in ("LAB", "F", "I", "I;16") else colour(mode)
        yield f"mode-{mode.replace(';', '-')}", saved(image, "TIFF")


def endless_folders(number: int) -> bytes:
    """A TIFF of very many empty folders."""
    first = 1024 + 2000
    links = (struct.pack("<HI", 0, first + 6 * (k + 1)) for k in range(number))
    return tiff(following=first) + b"".join(links) + struct.pack("<HI", 0, first)


# GIF, BMP, WebP


def gif(screen: tuple[int, int], frame: tuple[int, int, int, int], body: bytes = b"\x02\x02\x44\x01\0") -> bytes:
    """A GIF of one frame (left, top, width, height) with any data."""
    head = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return head + b"," + struct.pack("<HHHHB", *frame, 0) + body + b";"


def gifs() -> Files:
    yield "one", gif((1, 1), (0, 0, 1, 1))
    yield "frame-empty", gif((8, 8), (0, 0, 0, 0))
    yield "frame-outside", gif((8, 8), (100, 100, 8, 8))
    yield "frame-larger", gif((8, 8), (0, 0, 60000, 60000))
    yield "frame-7700", gif((8, 8), (0, 0, 7700, 7700))
    yield "screen-empty", gif((0, 0), (0, 0, 8, 8))
    yield "screen-huge", gif((65535, 65535), (0, 0, 1, 1))
    yield "no-frame", gif((8, 8), (0, 0, 8, 8))[:19] + b";"
    yield "code-size", gif((8, 8), (0, 0, 8, 8), b"\xff\x02\x44\x01\0")
    yield "garbage", gif((64, 64), (0, 0, 64, 64), b"\x08" + b"\xff" + RANDOM.bytes(255) + b"\0")
    yield "extensions", gif((1, 1), (0, 0, 1, 1))[:19] + b"!\xfe\x01a\0" * 100_000 + b";"
    frames = [colour("P"), Image.new("P", (32, 24), 3), Image.new("P", (32, 24), 9)]
    yield "animated", saved(frames[0], "GIF", save_all=True, append_images=frames[1:], transparency=3, disposal=2)


def bmp(
    width: int = 4, height: int = 4, bits: int = 24, how: int = 0, used: int = 0, body: bytes = bytes(900)
) -> bytes:
    """A BMP with any header."""
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, how, 0, 0, 0, used & 0xFFFFFFFF, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(body), 0, 0, 54) + head + body


def bmps() -> Files:
    for height in (-4, 0, -(2**31), 2**31 - 1, 7700):
        yield f"height-{height}", bmp(height=height)
    for width in (-4, 0, -(2**31), 2**31 - 1, 40000):
        yield f"width-{width}", bmp(width=width)
    for bits in (0, 1, 2, 4, 8, 16, 24, 32, 48, 64, 65535):
        yield f"bits-{bits}", bmp(bits=bits)
    for how in range(15):
        yield f"compression-{how}", bmp(bits=8 if how == 1 else 4 if how == 2 else 32, how=how, used=4)
    for used in (257, 2**24, -1):
        yield f"colours-{used}", bmp(bits=8, used=used)
    yield "rle-outside", bmp(bits=8, how=1, used=2, body=bytes(8) + b"\0\x02\xff\xff" * 100 + b"\xff\1" * 100)
    yield "rle-short", bmp(400, 400, bits=8, how=1, used=2, body=bytes(8) + b"\x04\1\0\0")
    yield "rle-4", bmp(bits=4, how=2, used=2, body=bytes(8) + RANDOM.bytes(300))
    yield "rle-7700", bmp(7700, 7700, bits=8, how=1, used=2, body=bytes(8) + b"\xff\1" * 1000)
    for size in (0, 12, 16, 64, 108, 124, 2**31):
        yield f"header-{size}", bmp()[:14] + struct.pack("<I", size) + bmp()[18:]


def riff(*parts: tuple[bytes, bytes]) -> bytes:
    """A WebP of these chunks."""
    body = b"".join(kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in parts)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def canvas(width: int, height: int, flags: int) -> tuple[bytes, bytes]:
    """The chunk that a WebP's size stands in."""
    return b"VP8X", struct.pack("<I", flags) + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]


def webps() -> Files:
    small = saved(colour(), "WEBP")[12:]
    part = (small[:4], small[8 : 8 + struct.unpack("<I", small[4:8])[0]])
    frame = struct.pack("<I", 0)[:3] * 2 + struct.pack("<I", 31)[:3] + struct.pack("<I", 23)[:3] + b"\0" * 4
    moving = (b"ANMF", frame + small), (b"ANIM", b"\0" * 6)
    for side in (2**14, 2**24, 32):
        yield f"canvas-{side}", riff(canvas(side, side, 0), part)
        yield f"animated-canvas-{side}", riff(canvas(side, side, 2), moving[1], moving[0], moving[0])
    yield "no-animation-header", riff(canvas(32, 24, 2), moving[0])
    yield "no-frames", riff(canvas(32, 24, 2), moving[1])
    outside = struct.pack("<I", 9999)[:3] * 2 + moving[0][1][6:]
    yield "frame-outside", riff(canvas(32, 24, 2), moving[1], (b"ANMF", outside))
    yield "icc-garbage", riff(canvas(32, 24, 0x20), (b"ICCP", b"x" * 3000), part)
    yield "exif-cyclic", riff(canvas(32, 24, 8), part, (b"EXIF", cyclic_exif()))
    yield "xmp-20-MiB", riff(canvas(32, 24, 4), part, (b"XMP ", b"x" * 20 * 2**20))
    yield "lossless-16383", riff((b"VP8L", b"\x2f" + struct.pack("<I", 0x0FFFFFFF) + RANDOM.bytes(300)))
    yield "lossy-16383", riff((b"VP8 ", b"\x10\0\0\x9d\x01\x2a\xff\x3f\xff\x3f" + RANDOM.bytes(300)))
    yield "empty", riff()
    yield "size-lies", b"RIFF" + struct.pack("<I", 2**32 - 1) + saved(colour(), "WEBP")[8:]


# All of them


def mutants() -> Files:
    """Whole files of every format, cut, flipped and spliced."""
    exif = Image.Exif()
    exif[271], exif[274] = "Maker", 6
    chance = random.Random(0)
    texts = PngImagePlugin.PngInfo()
    texts.add_text("a", "b", zip=True)
    for form, suffix in SUFFIX.items():
        extras = {"exif": exif.tobytes()} if form in ("JPEG", "TIFF", "WEBP", "PNG") else {}
        whole = saved(colour(), form, **extras, **({"pnginfo": texts} if form == "PNG" else {}))
        for at in (1, 2, 4, 8, 12, 20, 40, len(whole) // 2, len(whole) - 1):
            yield f"cut-{at}.{suffix}", whole[:at]
        for number in range(8):
            changed = bytearray(whole)
            for _ in range(2**number):
                changed[chance.randrange(len(whole))] = chance.randrange(256)
            yield f"flips-{2**number}.{suffix}", bytes(changed)
        yield f"doubled.{suffix}", whole + whole
        yield f"middle-gone.{suffix}", whole[: len(whole) // 3] + whole[len(whole) // 2 :]
        yield f"zeros-{suffix}.{suffix}", whole[:100] + bytes(len(whole))
        for other in SUFFIX.values():
            if other != suffix:
                yield f"{suffix}-named.{other}", whole


def content() -> Files:
    """Every file by name."""
    kinds: dict[str, Callable[[], Files]] = {
        "png": pngs, "jpg": jpegs, "tif": tiffs, "gif": gifs, "bmp": bmps, "webp": webps
    }  # fmt: skip
    for suffix, files in kinds.items():
        yield from ((f"{suffix}-{name}.{suffix}", data) for name, data in files())
    yield from mutants()
    yield from (
        ("empty.png", b""),
        ("text.png", b"hello"),
        ("zeros.tif", bytes(2**20)),
        ("noise.jpg", RANDOM.bytes(5000)),
    )
    yield "html.png", b"<!DOCTYPE html><html><body>404</body></html>"
    yield "svg.png", b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>"
    yield "script.gif", b"%!PS-Adobe-3.0 EPSF-3.0\n(%pipe%id) (r) file\n"


def odd_names() -> Files:
    """A good picture under names that hurt."""
    good = saved(colour(), "PNG")
    for name in ("new\nline", "\x1b[31mred\x1b[0m", "emoji \U0001f4a5", "--help", "-o", "[bold]rich", "a\u202eb",
                 "*", "?", "[0-9]", "%s{0}", "$(id)", "'quote\"", "  ", "a\\b", "\udcff\udcfe", "cafe\u0301",
                 "caf\u00e9", "x" * 240, "tab\t", "\x07bell", "nul", "~", "\u200b"):  # fmt: skip
        yield f"{name}.png", good


def special(folder: Path) -> int:
    """Things that are no files; returns how many a run has to account for."""
    os.mkfifo(folder / "fifo.png")
    (folder / "folder.png").mkdir()
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "pair-a.png").symlink_to(folder / "pair-b.png")
    (folder / "pair-b.png").symlink_to(folder / "pair-a.png")
    (folder / "dangling.png").symlink_to("nowhere")
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "null.png").symlink_to("/dev/null")
    (folder / "up").symlink_to("..")
    os.chdir(folder)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
    with (folder / "sparse.png").open("wb") as file:
        file.truncate(2**40)
    (folder / "unreadable.png").write_bytes(saved(colour(), "PNG"))
    (folder / "unreadable.png").chmod(0)
    return 10


def make(folder: Path) -> int:
    """Writes all files; returns how many."""
    folder.mkdir(parents=True)
    number = 0
    for name, data in (*content(), *odd_names()):
        (folder / name).write_bytes(data)
        number += 1
    return number + special(folder)


def run(folder: Path, out: Path, arguments: list[str]) -> None:
    """Runs cflow over the folder and checks that every file is accounted for, quietly, in time and in little memory."""
    command = [sys.executable, "-m", "cflowtool", "denoise", str(folder), "-o", str(out), "--report", "--json", "-r"]
    start = time.perf_counter()
    with (out.parent / "stdout").open("w+b") as stdout, (out.parent / "stderr").open("w+b") as stderr:
        code = subprocess.run([*command, *arguments], cwd=ROOT, stdout=stdout, stderr=stderr, check=False).returncode
        stdout.seek(0)
        lines, said = stdout.read().splitlines(), (out.parent / "stderr").read_text("utf-8", "replace")
    seconds, peak = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    report = json.loads((out / "report.json").read_text("utf-8"))["inputs"]
    named = {entry["input"] for entry in report}
    expected = {str(path) for path in folder.iterdir()} - {str(folder / "up"), str(folder / "folder.png")}
    statuses = {status: sum(entry["status"] == status for entry in report) for status in ("done", "failed", "skipped")}
    longest = max(report, key=lambda entry: entry["seconds"])
    print(f"exit {code}, {len(report)} files, {statuses}, {seconds:.0f} s, peak {peak:.0f} MiB")
    print(f"longest: {longest['input']!r}, {longest['seconds']} s")
    missing = sorted(expected - named)
    faults = [f"not accounted for: {missing!r}"] if missing else []
    faults += ["a traceback"] if "Traceback" in said else []
    faults += [f"exit code {code}"] if code != 1 else []
    faults += [f"{len(lines)} lines for {len(report)} files"] if len(lines) != len(report) else []
    faults += ["terminal codes"] if "\x1b[31m" in said or "\u202e" in said else []
    faults += [f"{peak:.0f} MiB"] if peak > MOST_MEBIBYTES else []
    faults += [f"{longest['seconds']} s"] if longest["seconds"] > MOST_SECONDS_A_FILE else []
    sys.exit("\n".join(faults))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["make", "run"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path("hostile-out"))
    given, rest = parser.parse_known_args()
    folder = given.folder.absolute()
    if given.what == "make":
        print(make(folder), "files")
    else:
        run(folder, given.out.absolute(), rest)


if __name__ == "__main__":
    main()
