"""The names of results: the same for an input whatever else is in the run, as far as that can be."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cflowtool.errors import InputError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif"})


@dataclass(frozen=True)
class Found:
    """A file (None: standard input), its path below what was named on the command line, what is wrong with it."""

    source: Path | None
    relative: Path
    problem: InputError | None = None

    @property
    def place(self) -> str | None:
        """The file's absolute path, the same for all ways to write it; a link is not the file that it leads to."""
        if self.source is None:
            return None
        try:
            return os.path.join(os.path.realpath(self.source.parent), self.source.name)  # noqa: PTH118
        except (OSError, ValueError):
            return str(self.source)


def distinct(found: Sequence[Found], out: Path) -> list[Path]:
    """The names, without suffix, of the results of inputs that are all different.

    img.png becomes img. Where its folder holds another image of that name, a.png and a.jpg keep their suffixes, be both
    in the run or not. x/b.png and y/b.png, both named on the command line, keep as many folders as tell them apart.
    Names that are still the same, but for case, say, get numbers in the order of their paths.
    """
    shared = _Siblings(found, out)
    stems = [each.relative if shared.has_another(each) else bare(each.relative) for each in found]
    return _numbered(found, _deepened(found, stems))


def bare(path: Path) -> Path:
    """The path without the suffix of an image, unless that is all that keeps it from being . or .. itself."""
    return path.with_suffix("") if path.suffix.lower() in SUFFIXES and path.stem not in (".", "..") else path


def folded(path: Path | str) -> str:
    """What two names have in common that a file system may take for one."""
    return unicodedata.normalize("NFC", str(path)).casefold()


class _Siblings:
    """What there is beside each input: on disk, but for results, and in the run."""

    def __init__(self, found: Sequence[Found], out: Path) -> None:
        self._out = os.path.realpath(out)
        self._within: dict[Path, Counter[str]] = {}
        for each in found:
            if each.source:
                names = self._within.setdefault(each.source.parent, Counter())
                names[folded(bare(Path(each.source.name)))] += 1
        self._disk = {folder: self._listed(folder) for folder in self._within}

    def _listed(self, folder: Path) -> Counter[str]:
        try:
            if Path(os.path.realpath(folder)).is_relative_to(self._out):
                return Counter()
            with os.scandir(folder) as entries:
                return Counter(_folded_images(entry.name for entry in entries))
        except (OSError, ValueError):
            return Counter()

    def has_another(self, each: Found) -> bool:
        """Whether an image of the same bare name stands beside it."""
        if each.source is None:
            return False
        name, folder = folded(bare(Path(each.source.name))), each.source.parent
        return max(self._within[folder][name], self._disk[folder][name]) > 1


def _folded_images(names: Iterable[str]) -> list[str]:
    paths = [Path(name) for name in names if not name.startswith(".")]
    return [folded(bare(path)) for path in paths if path.suffix.lower() in SUFFIXES]


def _deepened(found: Sequence[Found], stems: list[Path]) -> list[Path]:
    """Names that clash get one folder more, all of them, until they differ or no folder is left to tell them apart."""
    wanted = dict.fromkeys(range(len(stems)), 0)
    deeper = list(stems)
    while True:
        homes: dict[str, set[Path | None]] = {}
        for each, stem in zip(found, deeper, strict=True):
            homes.setdefault(folded(stem), set()).add(each.source and each.source.parent)
        again = {k: _below(found[k], stems[k], wanted[k] + 1) for k in wanted if len(homes[folded(deeper[k])]) > 1}
        again = {k: path for k, path in again.items() if path}
        if not again:
            return deeper
        for k, path in again.items():
            wanted[k], deeper[k] = wanted[k] + 1, path or deeper[k]


def _below(each: Found, stem: Path, folders: int) -> Path | None:
    """The name with so many more of the folders that lead to the file, None where there are not so many."""
    if each.source is None:
        return None
    parents = Path(os.path.normpath(each.source)).parts[:-1]
    own = each.relative.parts[:-1]
    above = [part for part in parents[: len(parents) - len(own)] if part not in ("..", each.source.anchor)]
    return Path(*above[-folders:], stem) if len(above) >= folders else None


def _numbered(found: Sequence[Found], stems: list[Path]) -> list[Path]:
    count = Counter(map(folded, stems))
    taken = {name for name in count if count[name] == 1}
    order = sorted(range(len(stems)), key=lambda k: found[k].place or "")
    for k in order:
        first, number = stems[k], 2
        while count[folded(first)] > 1 and folded(stems[k]) in taken:
            stems[k], number = first.with_name(f"{first.name}-{number}"), number + 1
        taken.add(folded(stems[k]))
    return stems
