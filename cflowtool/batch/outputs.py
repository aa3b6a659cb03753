"""Where results go and what may be written there."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cflowtool.batch.inputs import Job
from cflowtool.errors import OutputError, UsageError, escape
from cflowtool.images import Picture, write, write_bytes
from cflowtool.images.encode import ENCODERS
from cflowtool.images.temporary import sweep

MANIFEST = "samples.json"
MARK = "cflow:key"
ELSEWHERE = "choose another folder with -o"

State = Literal["absent", "same", "other"]


@dataclass(frozen=True)
class Outputs:
    """The output folder, its rules, and its layout: one file an input, or a folder an input when there is `many`.

    With `pipe` the one picture of the one input goes to standard output instead."""

    folder: Path
    suffix: str = ".png"
    many: bool = False
    overwrite: bool = False
    skip_existing: bool = False
    pipe: bool = False

    def file(self, job: Job, name: str) -> Path:
        """The file of a name within the input's folder, or the single file whatever the name."""
        at = self.folder / job.stem
        return at / name if self.many else at.with_name(at.name + self.suffix)

    def marker(self, job: Job) -> Path:
        """The file that, once it is there, says that the input is finished."""
        return self.file(job, MANIFEST)

    def check(self, jobs: Sequence[Job], names: Sequence[str]) -> None:
        """Raises OutputError, before any work is done, when a result would replace an input, leave the folder through
        a symlink, or, without `overwrite` and `skip_existing`, replace an existing file."""
        if self.overwrite and self.skip_existing:
            raise UsageError("--overwrite and --skip-existing exclude each other", "choose one of them")
        if self.pipe:
            self._check_pipe(jobs)
        else:
            self._check_files(jobs, names)

    def _check_files(self, jobs: Sequence[Job], names: Sequence[str]) -> None:
        root = self.folder.resolve()
        inputs = {identity for job in jobs if (identity := _identity(job.source))}
        files = dict.fromkeys(self.file(job, name) for job in jobs for name in (*names, MANIFEST))
        for folder in {path.parent for path in files}:
            if not folder.resolve().is_relative_to(root):
                raise OutputError(f"{escape(folder)}: a symlink leads out of the output folder", ELSEWHERE)
        for path in files:
            if (identity := _identity(path)) and identity in inputs:
                raise OutputError(f"{escape(path)}: this result would replace an input", ELSEWHERE, "output-is-input")
            if identity and not (self.overwrite or self.skip_existing):
                hint = "add --skip-existing or --overwrite, or another -o"
                raise OutputError(f"{escape(path)}: exists already", hint, "output-exists")

    def _check_pipe(self, jobs: Sequence[Job]) -> None:
        if self.many or len(jobs) != 1:
            what = "-o - writes one picture of one input to standard output, and here would be more"
            raise UsageError(what, "name a folder with -o")

    def tidy(self, jobs: Sequence[Job]) -> None:
        """Removes the temporary files that killed runs left where the results of these inputs go."""
        for folder in {self.marker(job).parent for job in jobs if not self.pipe}:
            with contextlib.suppress(OSError):
                sweep(folder)

    def state(self, job: Job, key: str) -> State:
        """Whether the result is there, and whether it has the same key, the digest of all settings."""
        marker = self.marker(job)
        if not os.path.lexists(marker):
            return "absent"
        return "same" if _holds(marker, key) else "other"

    def begin(self, job: Job) -> list[Path]:
        """Removes the manifest that is to be replaced and returns the files it listed."""
        marker = self.marker(job)
        if not (self.many and self.overwrite and marker.is_file()):
            return []
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, KeyError):
            old = json.loads(marker.read_bytes())
            names = [sample["file"] for sample in old["samples"]] + list(old["maps"].values())
            marker.unlink()
            return [marker.with_name(name) for name in names if re.fullmatch(r"\w+\.\w+", name)]
        return []

    def picture(self, job: Job, name: str, picture: Picture, text: dict[str, str]) -> None:
        """Writes one picture; a file of the same key, left by an interrupted run, may be replaced."""
        path = self.file(job, name)
        if self.pipe:
            _pour(ENCODERS[self.suffix](picture, text, 95))
        else:
            write(path, picture, text, overwrite=self.overwrite or (self.skip_existing and _holds(path, text[MARK])))

    def manifest(self, job: Job, value: dict[str, Any], stale: Sequence[Path]) -> None:
        """Writes samples.json, the last file of an input, and removes what an overwritten result left behind."""
        if self.many:
            data = json.dumps(value, indent=1, allow_nan=False) + "\n"
            write_bytes(self.marker(job), data.encode(), overwrite=self.overwrite)
        for path in stale:
            path.unlink(missing_ok=True)


def _pour(data: bytes) -> None:
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        what = f"standard output: cannot be written: {escape(error.strerror)}"
        raise OutputError(what, "check the command that reads it, or name a folder with -o") from error


def _identity(path: Path | None) -> tuple[int, int] | None:
    try:
        status = os.stat(path) if path else None  # noqa: PTH116
    except (OSError, ValueError):
        return None
    return (status.st_dev, status.st_ino) if status else None


def _holds(path: Path, key: str) -> bool:
    try:
        return key.encode() in path.read_bytes()
    except OSError:
        return False
