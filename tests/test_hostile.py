"""Thousands of mutants of everything that comes from outside: only CflowError escapes, and what is let in is sound.

The mutants are the same in every run. tests/stress/hostile_images.py runs whole files through the command.
"""

import copy
import io
import json
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from cflowtool import batch, errors, images, recipes, weights
from cflowtool.errors import CflowError, InputError, RecipeError, WeightsError, escape
from cflowtool.images import exif
from cflowtool.images.chunks import SIGNATURE
from cflowtool.images.encode import ENCODERS

LIMITS = images.Limits(megapixels=0.05, side=1000, mebibytes=1)
FORMATS = ["PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF"]
MODES = {"PNG": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"], "JPEG": ["L", "RGB", "CMYK"],
         "TIFF": ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F", "LAB"], "WEBP": ["RGB", "RGBA"],
         "BMP": ["1", "L", "P", "RGB", "RGBA"], "GIF": ["L", "P", "RGB"]}  # fmt: skip
NUMBERS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
# Values of any type in the place of any other.
STRANGE = [None, True, -1, 0, 1, 3, 65536, 10**9, 10**30, 1e308, float("nan"), float("-inf"), "", "x" * 1000, "2",
           "\u202e\x1b[31m", "../../x", "\udcff", [], {}, [[[]]], {"": {}}, [1] * 2000]  # fmt: skip


def mutants(number: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """So many examples, the same in every run."""
    checks = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
    return settings(
        max_examples=number, derandomize=True, database=None, deadline=None, suppress_health_check=checks, phases=PHASES
    )


PHASES = settings.get_profile("default").phases
PLACE = st.integers(0, 2**20)


@st.composite
def damage(draw: st.DrawFn) -> list[tuple[str, int, int, int]]:
    """Up to four operations on bytes, their places as shares of the length."""
    kinds = st.sampled_from(["set", "set", "number", "number", "cut", "drop", "double", "swap", "zero"])
    return draw(st.lists(st.tuples(kinds, PLACE, PLACE, st.integers(0, 255)), min_size=1, max_size=4))


def damaged(data: bytes, operations: list[tuple[str, int, int, int]]) -> bytes:
    """The data after the operations."""
    for kind, first, second, value in operations:
        if not data:
            break
        at, span = first % len(data), 1 + value % 40
        other = second % len(data)
        if kind == "set":
            data = data[:at] + bytes([value]) + data[at + 1 :]
        elif kind == "number":
            order, size = ("<", ">")[value % 2], "BHI"[second % 3]
            packed = struct.pack(order + size, NUMBERS[value % len(NUMBERS)] & (256 ** struct.calcsize(size) - 1))
            data = data[:at] + packed + data[at + len(packed) :]
        elif kind == "swap":
            low, high = sorted((at, other))
            data = data[:low] + data[high : high + span] + data[low:high] + data[high + span :]
        else:
            middle = {"cut": b"", "drop": data[at + span :], "zero": bytes(span) + data[at + span :]}
            data = data[:at] + middle.get(kind, data[max(0, at - span) :])
    return data


def seed(form: str, mode: str) -> bytes:
    """A small valid file with metadata where the format has them."""
    values = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    image = Image.new(mode, (11, 9)) if mode in ("F", "LAB", "I;16") else Image.fromarray(values).convert(mode)
    tags, text, extras = Image.Exif(), PngImagePlugin.PngInfo(), {}
    tags[271], tags[274] = "Maker", 6
    tags.get_ifd(0x8769)[33434] = 0.5
    text.add_text("a", "b", zip=True)
    if form in ("PNG", "JPEG", "TIFF", "WEBP"):
        extras = {"exif": tags.tobytes(), "icc_profile": b"profile" * 30}
    if form in ("PNG", "JPEG", "WEBP"):
        extras["xmp"] = b"<x:xmpmeta tiff:Orientation='3'/>"
    out = io.BytesIO()
    image.save(out, form, **extras, **({"pnginfo": text} if form == "PNG" else {}))
    return out.getvalue()


SEEDS = {form: [seed(form, mode) for mode in MODES[form]] for form in FORMATS}
for _depth in (8, 16):
    _wide = images.Picture(np.full((5, 7, 3), 2**_depth - 9, np.uint8 if _depth == 8 else np.uint16), xmp=b"<x/>")
    SEEDS["PNG"].append(ENCODERS[".png"](_wide, {"a": "b"}, 95))
    SEEDS["TIFF"].append(ENCODERS[".tif"](_wide, {"a": "b"}, 95))


def repaired(data: bytes) -> bytes:
    """A PNG whose checksums are right again, so that what they protect is reached."""
    if not data.startswith(SIGNATURE):
        return data
    out, at = [SIGNATURE], len(SIGNATURE)
    while at + 12 <= len(data):
        end = min(at + 8 + int.from_bytes(data[at : at + 4], "big"), len(data) - 4)
        body = data[at + 4 : end]
        out += [data[at : at + 4], body, zlib.crc32(body).to_bytes(4, "big")]
        at = max(end + 4, at + 12)
    return b"".join([*out, data[at:]])


def pillow_reads(data: bytes) -> bool:
    """Whether Pillow alone finds nothing wrong."""
    try:
        with warnings.catch_warnings(), images.quiet.captured_stderr():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                image.load()
    except Exception:
        return False
    return True


def check_picture(picture: images.Picture) -> None:
    """What holds of every picture that is read, whatever file it came from."""
    height, width = picture.size
    assert height * width <= 50_000 and max(height, width) <= 1000
    assert picture.pixels.flags["C_CONTIGUOUS"] and picture.bits in (8, 16)
    assert all(note.isprintable() for note in picture.notes)
    assert picture.exif is None or exif.parsed(picture.exif)[274] == 1
    back = images.read(ENCODERS[".png"](picture, {}, 95), images.Limits())
    assert np.array_equal(back.pixels, picture.pixels) and np.array_equal(back.alpha, picture.alpha)
    assert (back.xmp, back.text) == (picture.xmp, picture.text)
    back = images.read(ENCODERS[".tif"](picture, {"a": "b"}, 95), images.Limits())
    assert np.array_equal(back.pixels[..., : picture.pixels.shape[2]], picture.pixels) and back.xmp == picture.xmp
    for suffix in (".webp", ".jpg"):
        assert images.read(ENCODERS[suffix](picture, {"a": "b"}, 95), images.Limits()).size == picture.size


def check_error(error: CflowError) -> None:
    """What holds of every message."""
    assert error.what.isprintable() and error.hint.isprintable() and len(error.what) < 1000 and error.hint


@pytest.mark.parametrize("form", FORMATS)
def test_images(form: str) -> None:
    @mutants(300)
    @given(st.integers(0, len(SEEDS[form]) - 1), damage(), st.booleans())
    def check(which: int, operations: list[tuple[str, int, int, int]], repair: bool) -> None:
        data = damaged(SEEDS[form][which], operations)
        data = repaired(data) if form == "PNG" and repair else data
        try:
            picture = images.read(data, LIMITS, "a.png")
        except InputError as error:
            check_error(error)
        else:
            assert pillow_reads(data)
            check_picture(picture)

    check()


def split(path: Path) -> tuple[bytes, bytes]:
    """Header and tensors of a weight."""
    data = path.read_bytes()
    end = 8 + struct.unpack("<Q", data[:8])[0]
    return data[8:end], data[end:]


def check_weight(path: Path, data: bytes, original: weights.Loaded) -> None:
    """Refused, or the same model whatever else the card says."""
    path.write_bytes(data)
    try:
        loaded = weights.load(path)
    except WeightsError as error:
        check_error(error)
        return
    assert loaded.card.tensors_sha256 == original.card.tensors_sha256
    assert loaded.model.state_dict().keys() == original.model.state_dict().keys()


def test_weights(tiny_weight: Path, tmp_path: Path) -> None:
    header, body = split(tiny_weight)
    original = weights.load(tiny_weight)

    @mutants(400)
    @given(damage(), st.booleans(), st.booleans())
    def check(operations: list[tuple[str, int, int, int]], whole: bool, fitting: bool) -> None:
        text = header if whole else damaged(header, operations)
        data = struct.pack("<Q", len(text) if fitting else len(header)) + text + body
        check_weight(tmp_path / "a.safetensors", damaged(data, operations) if whole else data, original)

    check()


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to all parts of a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inner for place in places(part, (*path, key)))]


def changed(value: Any, place: tuple[Any, ...], by: Any) -> Any:
    """The value with one part replaced, or, by an Ellipsis, without it."""
    if not place:
        return None if by is ... else by
    result = copy.deepcopy(value)
    inner = result
    for key in place[:-1]:
        inner = inner[key]
    if by is ...:
        del inner[place[-1]]
    elif by == "more" and isinstance(inner, dict):
        inner["unknown"] = 1
    else:
        inner[place[-1]] = by
    return result


CHANGE = st.tuples(PLACE, st.sampled_from([*STRANGE, ..., "more"]))


def test_cards(tiny_weight: Path, tmp_path: Path) -> None:
    header, body = split(tiny_weight)
    entries, original = json.loads(header), weights.load(tiny_weight)
    card = json.loads(entries["__metadata__"]["cflowtool.card"])
    everywhere = places(card)

    @mutants(600)
    @given(st.lists(CHANGE, min_size=1, max_size=2))
    def check(changes: list[tuple[int, Any]]) -> None:
        mutant = card
        for at, by in changes:
            place = everywhere[at % len(everywhere)]
            if place in places(mutant):
                mutant = changed(mutant, place, by)
        entries["__metadata__"]["cflowtool.card"] = json.dumps(mutant)
        text = json.dumps(entries).encode()
        check_weight(tmp_path / "a.safetensors", struct.pack("<Q", len(text)) + text + body, original)

    check()


def test_headers(tiny_weight: Path, tmp_path: Path) -> None:
    header, body = split(tiny_weight)
    entries, original = json.loads(header), weights.load(tiny_weight)
    everywhere = [place for place in places(entries) if place[:1] != ("__metadata__",)]

    @mutants(400)
    @given(CHANGE)
    def check(change: tuple[int, Any]) -> None:
        mutant = changed(entries, everywhere[change[0] % len(everywhere)], change[1])
        text = json.dumps(mutant).encode()
        check_weight(tmp_path / "a.safetensors", struct.pack("<Q", len(text)) + text + body, original)

    check()


@mutants(700)
@given(st.sampled_from(["tiny", "denoise-cnf", "tim-colorize-paper", "cglow-inpaint-paper"]), damage())
def test_recipes(name: str, operations: list[tuple[str, int, int, int]]) -> None:
    folder = Path(recipes.__file__).parent / "recipes_data"
    whole = (folder / f"{'denoise-cnf' if name == 'tiny' else name}.toml").read_bytes()
    text = damaged(whole, operations).decode("utf-8", "replace")
    try:
        recipe = recipes.parse(text)
    except RecipeError as error:
        check_error(error)
        return
    config = recipes.model_config(recipe)
    assert recipes.make_task(recipe).scale == config.scale


@pytest.mark.parametrize("text", ["a = " + "[" * 5000, "a = " + "{a=" * 5000, "a." * 5000 + "b = 1", "a = 1e999999"])
def test_recipes_without_end(text: str) -> None:
    with pytest.raises(RecipeError):
        recipes.parse(text)


MANIFEST = {"format": 1, "key": "0" * 32, "samples": [{"file": "01.png", "rank": 1}], "maps": {"mean": "mean.png"}}


def test_manifests(tmp_path: Path) -> None:
    outputs = batch.Outputs(tmp_path / "out", many=True, overwrite=True)
    job = batch.Job(tmp_path / "a.png", Path("a"))
    marker = outputs.marker(job)
    marker.parent.mkdir(parents=True)
    everywhere, whole = places(MANIFEST), json.dumps(MANIFEST).encode()

    @mutants(500)
    @given(damage(), CHANGE, st.booleans())
    def check(operations: list[tuple[str, int, int, int]], change: tuple[int, Any], bytewise: bool) -> None:
        mutant = changed(MANIFEST, everywhere[change[0] % len(everywhere)], change[1])
        marker.write_bytes(damaged(whole, operations) if bytewise else json.dumps(mutant).encode())
        assert outputs.state(job, "0" * 32) in ("same", "other")
        stale = outputs.begin(job)
        assert all(path.parent == marker.parent and path.name not in ("", ".", "..") for path in stale)

    check()


PIECE = st.text(st.sampled_from("aA.é\u0301 \n\x1b\u202e\u200b/\\~*?[]'\"$%-{}\0\U0001f4a5\udcff\u0130"), max_size=8)
NAME = st.tuples(PIECE, st.sampled_from(["", ".png", ".PNG", ".jpg", "/x.png", "/../x.png"])).map("".join)


@mutants(500)
@given(NAME)
def test_names(name: str) -> None:
    shown = escape(name, 60)
    assert shown.isprintable() and len(shown) <= 60
    with pytest.raises(InputError) as caught:
        images.read(Path("/nowhere-at-all", name))
    check_error(caught.value)


def test_results_stay_in_their_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    out = Path("out")

    @mutants(300)
    @given(st.lists(NAME.filter(lambda name: name and Path(name).name != ".."), min_size=1, max_size=4))
    def check(names: list[str]) -> None:
        try:
            jobs = batch.expand([f"none/{name}" for name in names], False, out)
        except errors.UsageError as error:
            return check_error(error)
        stems = [job.stem for job in jobs]
        assert len({str(stem).casefold() for stem in stems}) == len(stems)
        assert all(os.path.normpath(out / stem).startswith("out/") for stem in stems)
        return None

    check()
