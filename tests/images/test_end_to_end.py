"""A model that changes nothing gives back what it was given: every format, through the command."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from cflowtool.cli.main import run
from cflowtool.images import Picture, exif, read, write

PACKET = b"<x:xmpmeta>kept</x:xmpmeta>"
KINDS = [(bits, channels, alpha) for bits in (8, 16) for channels in (1, 3) for alpha in (False, True)]
NOISE = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
# Smooth, so that lossy formats change little, and different in each of the eight ways to turn it.
RAMP = np.stack([np.add.outer(np.arange(16) * 9, np.arange(24) * 2), np.zeros((16, 24)), np.ones((16, 24))], 2)


def restored(folder: Path, weight: Path, suffix: str) -> Path:
    """The results of inpainting the last pixel, which keeps every value that is known."""
    for path in folder.iterdir():
        mask = np.zeros((*read(path).size, 1), np.uint8)
        mask[-1, -1] = 255
        write(folder.parent / "mask" / f"{path.stem}.png", Picture(mask))
    out = folder.parent / "out"
    arguments = ["inpaint", folder, "--mask", folder.parent / "mask", "-o", out, "--format", suffix, "--quiet"]
    assert run([str(each) for each in (*arguments, "--model", weight, "--device", "cpu", "--report")]) == 0
    assert json.loads((out / "report.json").read_text("utf-8"))["failed"] == 0
    return out


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_every_bit_and_every_block_comes_back(
    make: Any, icc: bytes, exif_block: bytes, tmp_path: Path, small_weights: dict[str, Path], suffix: str
) -> None:
    given = {}
    for bits, channels, alpha in KINDS:
        for form in ("png", "tif"):
            if (form, bits, channels, alpha) == ("tif", 16, 1, True):  # written as RGBA, with a note
                continue
            name = f"{form}-{bits}-{channels}-{alpha}"
            given[name] = make(bits, channels, alpha, (16, 20), exif=exif_block, icc=icc, xmp=PACKET)
            write(tmp_path / "in" / f"{name}.{form}", given[name])
    out = restored(tmp_path / "in", small_weights["inpaint"], suffix)
    for name, picture in given.items():
        back = read(out / f"{name}.{suffix}")
        if suffix == "tiff" and (picture.bits, picture.grey, picture.alpha is not None) == (16, True, True):
            back.pixels = back.pixels[..., :1]
        back.pixels[-1, -1] = picture.pixels[-1, -1]
        assert back.bits == picture.bits and np.array_equal(back.pixels, picture.pixels), name
        assert np.array_equal(back.alpha, picture.alpha), name
        assert (back.icc, back.xmp) == (icc, PACKET), name
        tags = exif.parsed(back.exif)
        assert (tags[271], tags[274], tags.get_ifd(0x8769)[33434], tags.get_ifd(0x8825)[1]) == ("Maker", 1, 0.5, "N")
        if suffix == "png":
            assert back.text["cflow:task"] == "inpaint" and back.text["cflow:seed"] == "0"


def test_eight_orientations_of_four_formats_are_upright(tmp_path: Path, small_weights: dict[str, Path]) -> None:
    (tmp_path / "in").mkdir()
    image = Image.fromarray(RAMP.astype(np.uint8))
    for turn in range(1, 9):
        tags = Image.Exif()
        tags[271], tags[274] = "Maker", turn
        for form, options in (("PNG", {}), ("TIFF", {}), ("JPEG", {"quality": 95}), ("WEBP", {"lossless": True})):
            image.save(tmp_path / "in" / f"{form}-{turn}.{form.lower()}", form, exif=tags.tobytes(), **options)
    out = restored(tmp_path / "in", small_weights["inpaint"], "png")
    for path in sorted((tmp_path / "in").iterdir()):
        tags = Image.Exif()
        tags[274] = int(path.stem[-1])
        plain = io.BytesIO()
        image.save(plain, "PNG", exif=tags.tobytes())
        wanted = np.asarray(ImageOps.exif_transpose(Image.open(plain))).astype(int)
        back = read(out / f"{path.stem}.png")
        assert back.size == wanted.shape[:2], path.name
        back.pixels[-1, -1] = wanted[-1, -1]
        assert np.abs(back.pixels - wanted).max() <= (6 if "JPEG" in path.stem else 0), path.name
        assert exif.parsed(back.exif)[274] == 1 and exif.parsed(back.exif)[271] == "Maker"
