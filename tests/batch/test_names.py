"""Names of results: all different, and an input's own as far as that can be."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cflowtool.batch.names import SUFFIXES, Found, bare, distinct, folded


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)


def touch(*names: str) -> None:
    """Make empty files."""
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def named(*names: str, out: str = "out") -> list[str]:
    """Return the names of the results of files given on the command line."""
    return [str(stem) for stem in distinct([Found(Path(name), Path(Path(name).name)) for name in names], Path(out))]


def test_only_the_suffix_of_an_image_is_left_out() -> None:
    assert named("a.png", "b.JPG", "photo.v2", "c.tar.tiff") == ["a", "b", "photo.v2", "c.tar"]


def test_images_of_one_name_in_one_folder_keep_their_suffixes_in_the_run_or_not() -> None:
    touch("a.png", "a.jpg", "A.webp", "b.png", ".b.jpg", "b.txt", "c.png")
    Path("c.jpg").mkdir()
    assert named("a.png", "a.jpg", "A.webp") == ["a.png", "a.jpg", "A.webp"]
    assert [named(name) for name in ("a.png", "a.jpg", "b.png", "c.png")] == [["a.png"], ["a.jpg"], ["b"], ["c.png"]]


def test_results_beside_their_inputs_do_not_change_the_names() -> None:
    touch("a.jpg", "a.png")
    assert named("a.jpg", out=".") == ["a"]


def test_files_of_several_folders_keep_as_many_as_tell_them_apart() -> None:
    assert named("b.png", "x/b.png", "y/b.png", "x/z/b.png", "y/z/b.png", "y/c.png") == [
        "b", "x/b", "y/b", "x/z/b", "y/z/b", "c"
    ]  # fmt: skip


def test_names_of_one_folder_that_differ_in_case_stay_in_their_tree() -> None:
    pair = [Found(Path("in/deep", name), Path("deep", name)) for name in ("a.png", "A.PNG")]
    assert distinct(pair, Path("out")) == [Path("deep/a.png-2"), Path("deep/A.PNG")]


def test_what_is_left_gets_numbers_in_the_order_of_the_paths() -> None:
    forth = named("x/../a.png", "y/../b/../a.PNG", "../a.png")
    assert len(set(forth)) == 3 and named("../a.png", "y/../b/../a.PNG", "x/../a.png") == forth[::-1]


PART = st.sampled_from(["a", "b", "A", "a-2", "a.png", "é", "e\u0301"])
PATHS = st.tuples(st.lists(PART, max_size=2), PART, st.sampled_from([*sorted(SUFFIXES), "", ".PNG"]))
FILES = st.sets(PATHS.map(lambda parts: "/".join([*parts[0], parts[1] + parts[2]])), min_size=1, max_size=12)


@given(FILES, st.randoms(use_true_random=False))
def test_names_differ_on_any_file_system_and_do_not_depend_on_the_order(files: set[str], random: object) -> None:
    given_order = sorted(files)
    found = dict(zip(given_order, named(*given_order), strict=True))
    assert len({folded(name) for name in found.values()}) == len(found)
    assert not any(Path(name).is_absolute() or ".." in Path(name).parts for name in found.values())
    random.shuffle(given_order)
    assert dict(zip(given_order, named(*given_order), strict=True)) == found


@given(st.lists(PART, min_size=1, max_size=3), st.sampled_from(sorted(SUFFIXES)))
def test_bare_takes_one_suffix(parts: list[str], suffix: str) -> None:
    assert bare(Path(*parts).with_name(parts[-1] + suffix)) == Path(*parts)
