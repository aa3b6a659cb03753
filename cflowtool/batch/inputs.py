"""From what stands on the command line to the images to work on and the names of their results."""

from __future__ import annotations

import glob
import os
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cflowtool import images
from cflowtool.errors import InputError, UsageError, escape

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif"})
STDIN = "-"
LIMIT = int(images.Limits().mebibytes * 2**20)

Found = tuple[Path | None, Path]


@dataclass(frozen=True)
class Job:
    """One image: its file (None: standard input) and where its result goes below the output folder, without suffix."""

    source: Path | None
    stem: Path

    @property
    def name(self) -> str:
        """What messages and manifests call the input."""
        return "stdin" if self.source is None else str(self.source)

    def content(self) -> bytes:
        """The file's bytes; raises InputError for whatever `images.read` would refuse unread."""
        if self.source is None:
            return sys.stdin.buffer.read(LIMIT + 1)
        try:
            if self.source.is_file() and self.source.stat().st_size <= LIMIT:
                return self.source.read_bytes()
        except OSError:
            pass
        images.read(self.source)  # says what is wrong with it
        raise InputError(f"{escape(self.name)}: cannot be read", "check its permissions and the disk")


def expand(inputs: Sequence[str], recursive: bool, out: Path) -> list[Job]:
    """The jobs of files, folders (with `recursive` whole trees), globs and `-`, each file once, each name once.

    Images below `out` are results of an earlier run and left out of a folder that holds them. A path that is not
    there becomes a job that fails when it is read. Raises UsageError when there is nothing at all to do.
    """
    if list(inputs).count(STDIN) > 1:
        raise UsageError("- is given twice", "standard input holds one image")
    paths = [path for text in inputs for path in _globbed(text)]
    several = sum(os.path.isdir(path) for path in paths) > 1  # noqa: PTH112
    found = _once([pair for path in paths for pair in _found(path, recursive, out, several)])
    if not found:
        hint = "give images or folders of images" if recursive else "give images, or add -r to enter sub-folders"
        raise UsageError(f"no images in {escape(', '.join(inputs))}", hint)
    stems = _distinct([relative for _, relative in found])
    return [Job(source, stem) for (source, _), stem in zip(found, stems, strict=True)]


def _globbed(text: str) -> list[str]:
    # os.path, since Path.exists raises on names that are too long.
    if text == STDIN or os.path.exists(text) or not glob.has_magic(text):  # noqa: PTH110
        return [text]
    return sorted(glob.glob(text, recursive=True)) or [text]  # noqa: PTH207


def _found(text: str, recursive: bool, out: Path, several: bool) -> list[Found]:
    path = Path(text)
    if text == STDIN:
        return [(None, Path("stdin"))]
    if not os.path.isdir(path):  # noqa: PTH112
        return [(path, Path(path.name))]
    prefix = Path(path.resolve().name) if several else Path()
    return [(file, prefix / file.relative_to(path)) for file in sorted(_inside(path, recursive, out))]


def _inside(folder: Path, recursive: bool, out: Path) -> Iterator[Path]:
    results = out.resolve()
    for root, folders, files in os.walk(folder):
        here = Path(root)
        inner = [name for name in folders if not name.startswith(".") and (here / name).resolve() != results]
        folders[:] = inner if recursive else []
        yield from (here / name for name in files if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES)


def _once(found: list[Found]) -> list[Found]:
    by_file = {
        ("-" if source is None else os.path.realpath(source)): (source, path) for source, path in reversed(found)
    }
    return list(by_file.values())[::-1]


def _distinct(paths: list[Path]) -> list[Path]:
    """img.png becomes img; where that is not unique, a.png and a.jpg keep their suffixes; then -2, -3 ... follow."""
    shared = Counter(_folded(_bare(path)) for path in paths)
    taken: set[str] = set()
    stems = []
    for path in paths:
        first = stem = _bare(path) if shared[_folded(_bare(path))] == 1 else path
        number = 2
        while _folded(stem) in taken:
            stem, number = first.with_name(f"{first.name}-{number}"), number + 1
        taken.add(_folded(stem))
        stems.append(stem)
    return stems


def _bare(path: Path) -> Path:
    return path.with_suffix("") if path.suffix.lower() in SUFFIXES else path


def _folded(path: Path) -> str:
    return unicodedata.normalize("NFC", str(path)).casefold()
