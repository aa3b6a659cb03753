"""Where results go and what may be written there."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cflowtool.batch.inputs import Job
from cflowtool.errors import OutputError, UsageError, escape
from cflowtool.images import Picture, write, write_bytes

MANIFEST = "samples.json"
MARK = "cflow:key"
ELSEWHERE = "choose another folder with -o"

State = Literal["absent", "same", "other"]


@dataclass(frozen=True)
class Outputs:
    """The output folder, its rules, and its layout: one file an input, or a folder an input when there is `many`."""

    folder: Path
    suffix: str = ".png"
    many: bool = False
    overwrite: bool = False
    skip_existing: bool = False

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
        root = self.folder.resolve()
        inputs = {identity for job in jobs if (identity := _identity(job.source))}
        files = [self.file(job, name) for job in jobs for name in (*names, MANIFEST)]
        for path in dict.fromkeys(files):
            if not path.parent.resolve().is_relative_to(root):
                raise OutputError(f"{escape(path)}: a symlink leads out of the output folder", ELSEWHERE)
            if (identity := _identity(path)) and identity in inputs:
                raise OutputError(f"{escape(path)}: this result would replace an input", ELSEWHERE)
            if identity and not (self.overwrite or self.skip_existing):
                raise OutputError(
                    f"{escape(path)}: exists already", "add --skip-existing or --overwrite, or another -o"
                )

    def state(self, job: Job, key: str) -> State:
        """Whether the result is there, and whether it has the same key, the digest of all settings."""
        marker = self.marker(job)
        if not marker.exists():
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
        write(path, picture, text, overwrite=self.overwrite or (self.skip_existing and _holds(path, text[MARK])))

    def manifest(self, job: Job, value: dict[str, Any], stale: Sequence[Path]) -> None:
        """Writes samples.json, the last file of an input, and removes what an overwritten result left behind."""
        if self.many:
            data = json.dumps(value, indent=1, allow_nan=False) + "\n"
            write_bytes(self.marker(job), data.encode(), overwrite=self.overwrite)
        for path in stale:
            path.unlink(missing_ok=True)


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
