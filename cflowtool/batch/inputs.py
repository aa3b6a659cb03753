"""From what stands on the command line to the images to work on and the names of their results."""

from __future__ import annotations

import glob
import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cflowtool import images
from cflowtool.batch.names import SUFFIXES, Found, distinct
from cflowtool.errors import InputError, UsageError, escape

STDIN = "-"
DEFAULT = images.Limits()


@dataclass(frozen=True)
class Job:
    """One image: its file (None: standard input) and where its result goes below the output folder, without suffix.

    `problem` is what was found to be wrong with it while it was looked for."""

    source: Path | None
    stem: Path
    problem: InputError | None = None

    @property
    def name(self) -> str:
        """What messages and manifests call the input."""
        return "stdin" if self.source is None else str(self.source)

    def content(self, limits: images.Limits = DEFAULT) -> bytes:
        """The file's bytes; raises InputError for whatever `images.read` would refuse unread."""
        if self.problem:
            raise self.problem
        if self.source is None:
            return sys.stdin.buffer.read(int(limits.mebibytes * 2**20) + 1)
        return images.content(self.source, limits, self.name)


@dataclass(frozen=True)
class Shard:
    """Part `index` (1 to `count`) of a run: the inputs that a hash of their place in the tree gives to it.

    An input's part never changes when others come, go or are given in another order; the parts are of nearly equal size
    only where there are many inputs in each."""

    index: int
    count: int

    def takes(self, job: Job) -> bool:
        """Whether the input is one of this part's."""
        place = job.stem.parent / job.source.name if job.source else job.stem
        digest = hashlib.sha256(os.fsencode(place)).digest()
        return int.from_bytes(digest[:8]) % self.count == self.index - 1


def expand(inputs: Sequence[str], recursive: bool, out: Path, files: Sequence[str] = ()) -> list[Job]:
    """The jobs of files, folders (with `recursive` whole trees), globs and `-`, and of `files`, taken as they are.

    Each file is one job and each has a name of its own. Images below `out` are results of an earlier run and left out
    of a folder that holds them. A path that is not there or a folder that cannot be read becomes a job that fails.
    Raises UsageError when there is nothing at all to do.
    """
    if list(inputs).count(STDIN) > 1:
        raise UsageError("- is given twice", "standard input holds one image")
    paths = [*(path for text in inputs for path in _globbed(text)), *files]
    several = sum(os.path.isdir(path) for path in paths) > 1  # noqa: PTH112
    found = _once([each for path in paths for each in _found(path, recursive, out, several)])
    if not found:
        hint = "give images or folders of images" if recursive else "give images, or add -r to enter sub-folders"
        raise UsageError(f"no images in {escape(', '.join(paths))}", hint)
    stems = distinct(found, out)
    return [Job(each.source, stem, each.problem) for each, stem in zip(found, stems, strict=True)]


def listed(source: str) -> list[str]:
    """The paths that a file, or for `-` standard input, lists: one a line, or ended by NUL where there is a NUL."""
    try:
        content = sys.stdin.buffer.read() if source == STDIN else Path(source).read_bytes()
    except (OSError, ValueError) as error:
        what = f"{escape(source)}: the list cannot be read: {escape(getattr(error, 'strerror', None) or error)}"
        raise UsageError(what, "give a file with one path a line, or - for standard input") from error
    parts = content.split(b"\0") if b"\0" in content else content.splitlines()
    paths = [os.fsdecode(part) for part in parts if part]
    if not paths:
        raise UsageError(f"{escape(source)}: the list is empty", "write one path a line into it")
    return paths


def _globbed(text: str) -> list[str]:
    # os.path, since Path.exists raises on names that are too long.
    if text == STDIN or os.path.lexists(text) or not glob.has_magic(text):
        return [text]
    return sorted(glob.glob(text, recursive=True)) or [text]  # noqa: PTH207


def _found(text: str, recursive: bool, out: Path, several: bool) -> list[Found]:
    path = Path(text)
    if text == STDIN:
        return [Found(None, Path("stdin"))]
    if not os.path.isdir(path):  # noqa: PTH112
        return [Found(path, Path(path.name))]
    prefix = Path(path.resolve().name) if several else Path()
    inside = sorted(_inside(path, recursive, out), key=lambda pair: pair[0])
    return [Found(file, prefix / file.relative_to(path), problem) for file, problem in inside]


def _inside(folder: Path, recursive: bool, out: Path) -> Iterator[tuple[Path, InputError | None]]:
    results = out.resolve()
    closed: list[OSError] = []
    for root, folders, files in os.walk(folder, onerror=closed.append):
        here = Path(root)
        inner = [name for name in folders if not name.startswith(".") and (here / name).resolve() != results]
        yield from (
            (here / name, None) for name in files if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES
        )
        if recursive:
            yield from ((here / name, _link(here / name)) for name in inner if (here / name).is_symlink())
        folders[:] = inner if recursive else []
    yield from ((Path(error.filename), _closed(error)) for error in closed)


def _link(path: Path) -> InputError:
    return InputError(f"{escape(path)}: a symlink to a folder is not followed", "name that folder, too", "symlink")


def _closed(error: OSError) -> InputError:
    what = f"{escape(error.filename)}: the folder cannot be read: {escape(error.strerror)}"
    return InputError(what, "check its permissions", "unreadable")


def _once(found: list[Found]) -> list[Found]:
    """A file given twice is one job; two links to one file are two, since each has a name of its own."""
    first: dict[str | None, Found] = {}
    for each in found:
        first.setdefault(each.place, each)
    return list(first.values())
