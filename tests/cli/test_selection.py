"""Which inputs a run works on, and what goes through pipes."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cflowtool import images

Photo = Callable[..., Path]


@pytest.fixture
def piped(upscale, monkeypatch: pytest.MonkeyPatch):
    """A function that runs cflow super-resolve with standard input and output as pipes of bytes."""

    def call(given: bytes, *arguments: object):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given)))
        out = io.TextIOWrapper(io.BytesIO(), write_through=True)
        monkeypatch.setattr("sys.stdout", out)
        result = upscale(*arguments)
        return result, out.buffer.getvalue()

    return call


def test_one_image_between_two_pipes_is_the_one_of_a_file(piped, upscale, photo: Photo) -> None:
    given = photo(Path("img.png")).read_bytes()
    assert upscale("img.png", "-o", "out").code == 0
    expected = images.read(Path("out/img.png"))
    for words in (["-"], ["-", "-o", "-"], ["img.png", "-o", "-"]):
        result, out = piped(given, *words)
        assert result.code == 0 and (images.read(out).pixels == expected.pixels).all()
        assert images.read(out).text == expected.text and "standard output" in result.err
    assert images.read(piped(given, "-", "--format", "webp")[1]).size == expected.size
    assert sorted(path.name for path in Path().iterdir()) == ["img.png", "out"]


def test_what_is_more_than_one_picture_goes_to_a_folder(piped, photo: Photo) -> None:
    given = photo(Path("img.png")).read_bytes()
    assert piped(given, "-", "-o", "named")[0].code == 0 and Path("named/stdin.png").exists()
    _, out = piped(given, "-", "--json")
    assert json.loads(out)["output"] == "out" and Path("out/stdin.png").exists()
    assert piped(given, "-", "--samples", 2)[0].code == 0 and Path("out/stdin/02.png").exists()


@pytest.mark.parametrize(
    "words",
    [
        "- -o - --samples 2",
        "- img.png -o -",
        "- -o - --json",
        "- -o - --report",
        "- --files-from -",
        "- -",
        "--files-from nowhere",
        "",
    ],
)
def test_what_has_no_room_in_a_pipe_is_a_usage_error(piped, photo: Photo, words: str) -> None:
    given = photo(Path("img.png")).read_bytes()
    result, out = piped(given, *words.split())
    assert (result.code, out, len(result.err.splitlines())) == (2, b"", 2)


def test_a_bad_image_in_a_pipe_gives_nothing(piped) -> None:
    result, out = piped(b"hello", "-")
    assert (result.code, out) == (1, b"") and result.err.startswith("cflow: stdin: ")


def test_a_list_is_taken_as_it_is_beside_inputs(piped, photo: Photo) -> None:
    for name in ("a.png", "[b].png", "c\nd.png"):
        photo(Path(name))
    result, _ = piped(b"[b].png\0c\nd.png\0missing.png\0", "a.png", "--files-from", "-", "--report")
    assert result.code == 1
    report = json.loads(Path("out/report.json").read_text())
    statuses = {each["input"]: (each["status"], each.get("code")) for each in report["inputs"]}
    assert statuses == {
        "a.png": ("done", None), "[b].png": ("done", None), "c\nd.png": ("done", None),
        "missing.png": ("failed", "missing"),
    }  # fmt: skip


def test_shards_make_together_what_one_run_makes(upscale, photo: Photo) -> None:
    for k in range(7):
        folder = Path("in", "sub" if k % 2 else "")
        folder.mkdir(parents=True, exist_ok=True)
        photo(folder / f"{k % 4}.{'png' if k < 4 else 'jpg'}", seed=k)
    assert upscale("in", "-r", "-o", "whole").code == 0
    counts = []
    for k in range(1, 5):
        assert upscale("in", "-r", "-o", "parts", "--report", "--shard", f"{k}/4").code == 0
        report = json.loads(Path(f"parts/report-{k}-of-4.json").read_text())
        counts.append(report["done"])
        assert report["planned"] == report["done"]
    whole, parts = (
        {p.relative_to(out): p.read_bytes() for p in Path(out).rglob("*.*") if p.suffix != ".json"}
        for out in ("whole", "parts")
    )
    assert sum(counts) == len(whole) == 7 and whole == parts


def test_what_a_killed_run_was_writing_is_removed_by_the_next(upscale, photo: Photo) -> None:
    photo(Path("img.png"))
    Path("out/img").mkdir(parents=True)
    stale = Path("out/img/.cflow-0123456789abcdef.part")
    stale.touch()
    assert upscale("img.png", "--samples", 2).code == 0 and not stale.exists()
    assert [path.name for path in Path("out").rglob("*.part")] == []
