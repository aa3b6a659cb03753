"""A file is written whole or not at all, and never over or through another."""

import errno
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cflowtool.errors import OutputError
from cflowtool.images import Picture, read, write, write_bytes


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".PNG"])
def test_the_suffix_is_the_format_and_folders_are_made(make: Any, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "a" / "b" / f"picture{suffix}"
    write(path, make(), {"seed": "1"})
    assert read(path).size == (7, 5)
    assert names(path.parent) == [path.name]


def test_an_unknown_suffix_is_refused(make: Any, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="suffix") as caught:
        write(tmp_path / "a.xyz", make())
    assert ".png" in caught.value.hint


def test_what_exists_is_kept_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_bytes(path, b"one")
    with pytest.raises(OutputError, match="exists"):
        write_bytes(path, b"two")
    assert path.read_bytes() == b"one"
    write_bytes(path, b"two", overwrite=True)
    assert path.read_bytes() == b"two" and names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("target", ["there", "nowhere"])
def test_symlinks_are_not_followed(tmp_path: Path, target: str) -> None:
    (tmp_path / "there").write_bytes(b"precious")
    (tmp_path / "link").symlink_to(tmp_path / target)
    with pytest.raises(OutputError, match="symlink"):
        write_bytes(tmp_path / "link", b"x", overwrite=True)
    assert (tmp_path / "there").read_bytes() == b"precious" and not (tmp_path / "nowhere").exists()


def test_a_folder_or_a_file_in_the_way_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "below", tmp_path / ("x" * 300)):
        with pytest.raises(OutputError) as caught:
            write_bytes(path, b"x", overwrite=True)
        assert caught.value.hint
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("step", ["fsync", "link", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_failing_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: int) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(*((Path, "replace") if step == "replace" else (os, step)), fail)
    if step == "link":
        write_bytes(tmp_path / "a.png", b"x" * 1000)  # where there are no links it is renamed
        (tmp_path / "a.png").unlink()
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OutputError, match="MiB free") as caught:
        write_bytes(tmp_path / "a.png", b"x" * 1000, overwrite=step == "replace")
    assert os.strerror(number) in caught.value.what and "a.png" in caught.value.what
    assert names(tmp_path) == []


def test_an_interrupt_leaves_nothing_and_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    (tmp_path / "a").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "a", b"new", overwrite=True)
    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_bytes() == b"old"


def test_the_umask_decides_who_may_read(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "a", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_a_picture_too_large_for_the_format_is_an_output_error(tmp_path: Path) -> None:
    wide = Picture(np.zeros((1, 70000, 3), np.uint8))
    for suffix in (".jpg", ".webp"):
        with pytest.raises(OutputError, match="70000 x 1") as caught:
            write(tmp_path / f"a{suffix}", wide)
        assert "PNG" in caught.value.hint
    write(tmp_path / "a.png", wide)
    assert names(tmp_path) == ["a.png"]
