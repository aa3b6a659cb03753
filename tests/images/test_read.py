"""Whatever is wrong with an input is one InputError that names it, quickly and quietly."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cflowtool.errors import InputError
from cflowtool.images import Limits, read

COLOUR = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def saved(form: str, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(COLOUR).save(out, form, **options)
    return out.getvalue()


def refused(path: Path | bytes, limits: Limits | None = None) -> InputError:
    with pytest.raises(InputError) as caught:
        read(path, limits or Limits())
    assert caught.value.hint and caught.value.what.isprintable() and len(caught.value.what) < 700
    return caught.value


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF"])
def test_allowed_formats_are_read_from_files_and_bytes(tmp_path: Path, form: str) -> None:
    path = tmp_path / "picture"
    path.write_bytes(saved(form))
    assert read(path).size == (40, 60)
    assert np.array_equal(read(path).pixels, read(saved(form)).pixels)
    assert read(path).source == str(path) and read(saved(form), name="-").source == "-"


@pytest.mark.parametrize("form", ["PPM", "ICO", "PCX", "TGA", "JPEG2000"])
def test_other_formats_are_refused(form: str) -> None:
    assert "not an image of a known format" in refused(saved(form)).what


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere")
    for name in ("missing.png", "fifo", "empty.png", "text.png", "dangling.png", "empty.png/below.png", "x" * 300):
        assert name[:100] in refused(tmp_path / name).what
    assert "folder" in refused(tmp_path).what
    assert "regular" in refused(Path("/dev/null")).what
    refused(Path("a\0b.png"))


def test_names_are_escaped(tmp_path: Path) -> None:
    assert r"\x1b[31m\u202e" in refused(tmp_path / "\x1b[31m\u202e.png").what


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF"])
def test_truncated_and_damaged_files_are_refused_or_read_but_never_crash(
    form: str, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = saved(form)
    refused(whole[: len(whole) // 2])
    generator = np.random.default_rng(1)
    for _ in range(30):
        damaged = np.frombuffer(whole, np.uint8).copy()
        damaged[generator.integers(0, len(whole), 8)] = generator.integers(0, 256, 8)
        try:
            read(damaged.tobytes())
        except InputError as error:
            assert error.what.isprintable()
    assert capfd.readouterr().err == ""


def test_a_truncated_16_bit_png_is_refused(tmp_path: Path) -> None:
    from cflowtool.images import Picture, write

    write(tmp_path / "a.png", Picture(COLOUR.astype(np.uint16) * 257 + 3))
    whole = (tmp_path / "a.png").read_bytes()
    refused(whole[: len(whole) // 2])


def test_limits_are_kept() -> None:
    data = saved("PNG")
    assert "megapixels" in refused(data, Limits(megapixels=0.0023)).what
    assert "megapixels" in refused(data, Limits(megapixels=0.0003)).what
    assert "a side" in refused(data, Limits(side=59)).what
    assert "MiB" in refused(data, Limits(mebibytes=0.001)).what
    assert read(data, Limits(0.0024, 60, 1)).size == (40, 60)


def test_the_file_limit_is_known_before_reading(tmp_path: Path) -> None:
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(2**40)
    assert "MiB" in refused(tmp_path / "huge.png").what


def test_limits_above_those_of_pillow_can_be_set_and_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert read(saved("PNG")).size == (40, 60)
    assert Image.MAX_IMAGE_PIXELS == 100
