"""cflow super-resolve through the shell, restore.py and console.py with it: files, ranks, exit codes."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cflowtool import images

Photo = Callable[..., Path]


def test_one_sample_is_one_file(upscale, photo: Photo) -> None:
    photo(Path("img.png"))
    result = upscale("img.png", "-o", "out", "--json")
    assert result.code == 0
    assert [path.name for path in Path("out").iterdir()] == ["img.png"]
    assert images.read(Path("out/img.png")).size == (32, 40)
    [value] = result.objects
    assert value["samples"][0] | {"file": "img.png", "index": 0, "rank": 1} == value["samples"][0]
    assert "img.png -> out/img.png" in result.err


def test_samples_are_ranked_by_log_prob(upscale, photo: Photo) -> None:
    photo(Path("img.png"))
    assert upscale("img.png", "--samples", 5, "--temp", 0.8, "--mean", "--std", "--sheet").code == 0
    names = sorted(path.name for path in Path("out/img").iterdir())
    numbered = [f"{k:02}.png" for k in range(1, 6)]
    assert names == [*numbered, "mean.png", "samples.json", "sheet.png", "std.png"]
    value = json.loads(Path("out/img/samples.json").read_text())
    samples = value["samples"]
    assert [s["file"] for s in samples] == numbered
    assert [s["rank"] for s in samples] == [1, 2, 3, 4, 5]
    assert sorted(s["index"] for s in samples) == [0, 1, 2, 3, 4]
    assert [s["log_prob"] for s in samples] == sorted((s["log_prob"] for s in samples), reverse=True)
    assert (value["task"], value["model"], value["temperature"], value["tiled"]) == ("super-resolve", "cnf", 0.8, False)
    assert len(value["input"]["sha256"]) == len(value["weights"]["sha256"]) == 64
    pixels = [images.read(Path("out/img") / name).pixels for name in numbered]
    assert not any(np.array_equal(pixels[0], other) for other in pixels[1:])


def test_the_same_command_gives_the_same_bytes(upscale, photo: Photo) -> None:
    photo(Path("img.png"))
    outs = [upscale("img.png", "--samples", 3, "--seed", 7, "--sheet", "--json", "-o", out).out for out in ("a", "b")]
    assert outs[0].replace('"a/', '"b/') == outs[1]
    for path in Path("a/img").iterdir():
        assert path.read_bytes() == (Path("b/img") / path.name).read_bytes()


def test_a_sample_alone_equals_itself_among_others(upscale, photo: Photo) -> None:
    photo(Path("img.png"))
    upscale("img.png", "--samples", 4, "--temp", 0.8, "-o", "all")
    upscale("img.png", "--samples", 1, "--start", 2, "--temp", 0.8, "-o", "one")
    samples = json.loads(Path("all/img/samples.json").read_text())["samples"]
    [third] = [sample["file"] for sample in samples if sample["index"] == 2]
    alone = images.read(Path("one/img.png")).pixels.astype(int)
    assert np.abs(alone - images.read(Path("all/img") / third).pixels).max() <= 1


def test_keep_writes_the_most_likely(upscale, photo: Photo) -> None:
    photo(Path("img.png"))
    upscale("img.png", "--samples", 4, "-o", "all")
    upscale("img.png", "--samples", 4, "--keep", 2, "-o", "kept")
    every, kept = (json.loads(Path(out, "img/samples.json").read_text()) for out in ("all", "kept"))
    assert kept["samples"] == every["samples"][:2]
    assert sorted(p.name for p in Path("kept/img").iterdir()) == ["01.png", "02.png", "samples.json"]


def test_a_result_says_how_it_was_made(upscale, photo: Photo) -> None:
    photo(Path("img.png"))
    upscale("img.png", "--samples", 2, "--seed", 3)
    text = images.read(Path("out/img/01.png")).text
    first = json.loads(Path("out/img/samples.json").read_text())["samples"][0]
    assert (text["cflow:seed"], text["cflow:temperature"], text["cflow:model"]) == ("3", "0.8", "cnf")
    assert (text["cflow:index"], float(text["cflow:log_prob"])) == (str(first["index"]), first["log_prob"])


@pytest.mark.parametrize("suffix", ["jpg", "webp", "tiff"])
def test_other_formats(upscale, photo: Photo, suffix: str) -> None:
    photo(Path("img.png"))
    assert upscale("img.png", "--format", suffix).code == 0
    assert images.read(Path(f"out/img.{suffix}")).size == (32, 40)
    assert "finished before" in upscale("img.png", "--format", suffix, "--skip-existing").err


def test_a_folder_becomes_the_same_tree(upscale, photo: Photo) -> None:
    for name in ("in/a.png", "in/sub/b.png", "in/sub/deep/a.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        photo(Path(name))
    assert upscale("in", "-r").code == 0
    assert sorted(str(p) for p in Path("out").rglob("*.png")) == ["out/a.png", "out/sub/b.png", "out/sub/deep/a.png"]


def test_one_bad_file_does_not_stop_the_others(upscale, photo: Photo) -> None:
    Path("text.png").write_text("hello")
    photo(Path("img.png"))
    result = upscale("text.png", "nowhere.png", "img.png", "--json", "--report")
    assert result.code == 1
    assert [value["status"] for value in result.objects] == ["failed", "failed", "done"]
    tail = result.err[result.err.index("cflow:") :].splitlines()
    assert tail[0] == "cflow: 2 of 3 inputs failed"
    assert [line.split(":")[0].strip() for line in tail[1:]] == ["text.png", "nowhere.png", "try"]
    report = json.loads(Path("out/report.json").read_text())
    assert (report["done"], report["failed"], report["skipped"]) == (1, 2, 0)
    assert report["inputs"][0]["reason"].startswith("text.png: ")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["nowhere.png"], 1),
        (["text.png"], 1),
        (["img.png", "--samples", "0"], 2),
        (["img.png", "--scale", "3"], 2),
        (["img.png", "--scale", "4"], 2),
        (["img.png", "--tile", "3"], 2),
        (["img.png", "--temp", "-1"], 2),
        (["img.png", "--std", "--samples", "1"], 2),
        (["img.png", "--keep", "3", "--samples", "2"], 2),
        (["img.png", "--skip-existing", "--overwrite"], 2),
        (["img.png", "--device", "cuda"], 2),
        (["empty"], 2),
        (["img.png", "-o", "."], 4),
        (["img.png", "-o", "text.png"], 4),
    ],
)
def test_expected_errors_are_two_lines(upscale, photo: Photo, arguments: list[str], code: int) -> None:
    photo(Path("img.png"))
    Path("text.png").write_text("hello")
    Path("empty").mkdir()
    before = Path("img.png").read_bytes()
    result = upscale(*arguments, "--quiet")
    what, hint = result.err.splitlines()
    assert (result.code, result.out) == (code, "")
    assert what.startswith("cflow: ") and hint.startswith("  try: ")
    assert Path("img.png").read_bytes() == before


def test_an_unknown_model_and_hostile_names(cflow, photo: Photo) -> None:
    photo(Path("img.png"))
    result = cflow("super-resolve", "img.png", "--model", "\x1b[31m[red]no\nsuch")
    assert (result.code, len(result.err.splitlines())) == (3, 2)
    assert "\x1b" not in result.err and "[red]no" in result.err


def test_nothing_is_overwritten_unasked(upscale, photo: Photo) -> None:
    photo(Path("img.png"))
    upscale("img.png", "--samples", 3)
    first = Path("out/img/samples.json").read_bytes()
    assert upscale("img.png", "--samples", 2, "--seed", 1).code == 4
    assert Path("out/img/samples.json").read_bytes() == first
    assert upscale("img.png", "--samples", 2, "--seed", 1, "--overwrite").code == 0
    assert sorted(p.name for p in Path("out/img").iterdir()) == ["01.png", "02.png", "samples.json"]


def test_skip_existing_goes_on_where_a_run_stopped(upscale, photo: Photo) -> None:
    for name in ("a", "b"):
        photo(Path(f"{name}.png"), seed=ord(name))
    command = ["a.png", "b.png", "--samples", 2]
    upscale(*command)
    whole = {path: path.read_bytes() for path in Path("out").rglob("*.*")}
    Path("out/b/samples.json").unlink()
    Path("out/b/02.png").unlink()
    finished = Path("out/a/01.png").stat().st_mtime_ns
    result = upscale(*command, "--skip-existing", "--json")
    assert (result.code, [value["status"] for value in result.objects]) == (0, ["skipped", "done"])
    assert {path: path.read_bytes() for path in Path("out").rglob("*.*")} == whole
    assert Path("out/a/01.png").stat().st_mtime_ns == finished


def test_skip_existing_tells_other_settings_apart(upscale, photo: Photo) -> None:
    photo(Path("img.png"))
    upscale("img.png", "--seed", 1)
    before = Path("out/img.png").read_bytes()
    result = upscale("img.png", "--seed", 2, "--skip-existing")
    assert (result.code, "other settings" in result.err) == (1, True)
    assert Path("out/img.png").read_bytes() == before


def test_nothing_leaves_through_a_symlink(upscale, photo: Photo) -> None:
    for folder in ("in/sub", "out", "elsewhere"):
        Path(folder).mkdir(parents=True)
    photo(Path("in/sub/img.png"))
    Path("out/sub").symlink_to(Path("elsewhere").resolve())
    assert upscale("in", "-r", "--overwrite").code == 4
    assert list(Path("elsewhere").iterdir()) == []


def test_an_unexpected_failure_of_one_input_is_one_line(upscale, photo: Photo, monkeypatch: pytest.MonkeyPatch) -> None:
    from cflowtool.restorer import Restorer

    def fail(*_: object) -> None:
        raise RuntimeError("out of\nluck")

    monkeypatch.setattr(Restorer, "restore", fail)
    photo(Path("img.png"))
    result = upscale("img.png")
    assert (result.code, len(result.err.splitlines())) == (1, 2)
    assert "Traceback" in upscale("img.png", "--debug").err
