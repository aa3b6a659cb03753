"""From the command line to jobs: which files, and under which names."""

import io
import os
from pathlib import Path

import pytest

from cflowtool.batch.inputs import Job, expand
from cflowtool.errors import InputError, UsageError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)


def touch(*names: str) -> None:
    """Make empty files."""
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def stems(*inputs: str, recursive: bool = False, out: str = "out") -> dict[str, str]:
    """Return {input: name of its result} in order."""
    return {job.name: str(job.stem) for job in expand(inputs, recursive, Path(out))}


def test_files_keep_their_order_and_lose_their_suffix() -> None:
    touch("b.png", "a.JPG", "photo.v2")
    assert stems("b.png", "a.JPG", "photo.v2", "missing.png") == {
        "b.png": "b", "a.JPG": "a", "photo.v2": "photo.v2", "missing.png": "missing"
    }  # fmt: skip


def test_names_that_clash_stay_apart() -> None:
    touch("a.png", "a.jpg", "A.webp", "b.png", "x/b.png", "y/b.png", "b.png-2.png")
    found = stems("a.png", "a.jpg", "A.webp", "b.png", "x/b.png", "y/b.png", "b.png-2.png")
    assert list(found.values()) == ["a.png", "a.jpg", "A.webp", "b.png", "b.png-2", "b.png-3", "b.png-2-2"]
    assert len({name.casefold() for name in found.values()}) == len(found)


def test_a_file_given_twice_is_done_once() -> None:
    touch("a.png")
    os.link("a.png", "hard.png")
    Path("soft.png").symlink_to("a.png")
    assert list(stems("a.png", "./a.png", "soft.png")) == ["a.png"]


def test_folders_with_and_without_sub_folders() -> None:
    touch("in/a.png", "in/notes.txt", "in/.hidden.png", "in/sub/b.png", "in/.git/c.png")
    assert stems("in") == {"in/a.png": "a"}
    assert stems("in", recursive=True) == {"in/a.png": "a", "in/sub/b.png": "sub/b"}


def test_several_folders_stay_apart() -> None:
    touch("in/a.png", "more/a.png")
    assert stems("in", "more") == {"in/a.png": "in/a", "more/a.png": "more/a"}


def test_results_are_no_inputs() -> None:
    touch("a.png", "out/a.png", "sub/out/b.png")
    assert stems(".", recursive=True) == {"a.png": "a", "sub/out/b.png": "sub/out/b"}


def test_globs_that_the_shell_left_alone() -> None:
    touch("b1.png", "b2.png", "[1].png", "deep/x/b3.png")
    assert list(stems("b*.png")) == ["b1.png", "b2.png"]
    assert list(stems("[1].png")) == ["[1].png"]
    assert list(stems("**/b3.png")) == ["deep/x/b3.png"]
    assert list(stems("none*.png")) == ["none*.png"]


def test_nothing_to_do_is_an_error() -> None:
    touch("in/sub/a.png")
    with pytest.raises(UsageError, match="no images in in") as caught:
        stems("in")
    assert "-r" in caught.value.hint


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"bytes")))
    [job] = expand(["-"], False, Path("out"))
    assert (job.name, str(job.stem), job.content()) == ("stdin", "stdin", b"bytes")
    with pytest.raises(UsageError, match="twice"):
        expand(["-", "-"], False, Path("out"))


def test_content_says_why_it_cannot_be_read() -> None:
    os.mkfifo("pipe.png")
    touch("empty.png")
    for name, reason in (
        ("pipe.png", "not a regular file"),
        ("none.png", "no such file"),
        ("n" * 300, "cannot be read"),
    ):
        with pytest.raises(InputError, match=reason):
            Job(Path(name), Path("x")).content()
    assert Job(Path("empty.png"), Path("x")).content() == b""
