"""From the command line to jobs: which files, and under which names."""

import errno
import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cflowtool.batch.inputs import Job, Shard, expand, listed
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


def test_a_file_given_twice_is_done_once_and_a_link_is_a_file_of_its_own() -> None:
    touch("x/a.png")
    Path("x/soft.png").symlink_to("a.png")
    Path("y").symlink_to("x")
    found = stems("x/a.png", "./x/../x/a.png", "y/a.png", str(Path("x/a.png").resolve()), "x/soft.png", "x")
    assert list(found.items()) == [("x/a.png", "a"), ("x/soft.png", "soft")]


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
        ("empty.png", "empty"),
    ):
        with pytest.raises(InputError, match=reason):
            Job(Path(name), Path("x")).content()


def test_what_cannot_be_entered_is_accounted_for(monkeypatch: pytest.MonkeyPatch) -> None:
    touch("in/a.png", "in/sub/b.png", "in/closed/c.png")
    Path("in/loop").symlink_to(".")
    Path("in/sub/self.png").symlink_to("self.png")
    original = os.scandir

    def guarded(path: str) -> object:
        if Path(path).name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return original(path)

    monkeypatch.setattr(os, "scandir", guarded)
    found = {job.name: job.problem for job in expand(["in"], True, Path("out"))}
    assert list(found) == ["in/a.png", "in/closed", "in/loop", "in/sub/b.png", "in/sub/self.png"]
    assert {name: problem.reason for name, problem in found.items() if problem} == {
        "in/closed": "unreadable", "in/loop": "symlink"
    }  # fmt: skip
    with pytest.raises(InputError, match="Too many levels"):
        Job(Path("in/sub/self.png"), Path("x")).content()


@pytest.mark.parametrize(
    ("content", "paths"),
    [
        (b"a.png\nb c.png\r\n\n\xff.png", ["a.png", "b c.png", "\udcff.png"]),
        (b"a.png\0b\nc.png\0", ["a.png", "b\nc.png"]),
        (b"one.png\0", ["one.png"]),
    ],
)
def test_a_list_has_one_path_a_line_or_nul(monkeypatch: pytest.MonkeyPatch, content: bytes, paths: list[str]) -> None:
    Path("list").write_bytes(content)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert listed("list") == listed("-") == paths


def test_a_list_that_is_none() -> None:
    Path("empty").write_bytes(b"\n\n")
    for name in ("empty", "nowhere", "n" * 300, "."):
        with pytest.raises(UsageError):
            listed(name)


def test_listed_paths_are_taken_as_they_are() -> None:
    touch("[a]*.png", "a.png", "in/b.png")
    assert [job.name for job in expand([], False, Path("out"), ["[a]*.png", "in", "*.png"])] == [
        "[a]*.png", "in/b.png", "*.png"
    ]  # fmt: skip


@given(st.sets(st.text("abc/", min_size=1, max_size=6).map(lambda t: t.strip("/") + "x.png"), max_size=40), st.data())
def test_shards_are_disjoint_cover_all_and_do_not_depend_on_the_others(names: set[str], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 7))
    jobs = [Job(Path("in", name), Path(name).with_suffix("")) for name in sorted(names)]
    parts = [[job for job in jobs if Shard(k + 1, count).takes(job)] for k in range(count)]
    assert sorted((job for part in parts for job in part), key=lambda job: job.name) == sorted(
        jobs, key=lambda job: job.name
    )


def test_a_shard_looks_at_the_place_in_the_tree_alone() -> None:
    def part(root: str, stem: str) -> list[int]:
        return [k for k in range(1, 17) if Shard(k, 16).takes(Job(Path(root, "sub/a.png"), Path(stem)))]

    # The name of the result changes where another a stands beside it, the part does not.
    assert part("in", "sub/a") == part("/data", "sub/a.png") != []
    many = [Job(Path(f"{k}.png"), Path(str(k))) for k in range(1600)]
    sizes = [sum(Shard(k, 16).takes(job) for job in many) for k in range(1, 17)]
    assert min(sizes) > 60 and max(sizes) < 140
