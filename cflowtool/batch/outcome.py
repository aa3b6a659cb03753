"""What became of each input, and the report of all."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cflowtool import __version__
from cflowtool.batch.inputs import Job, Shard
from cflowtool.errors import CflowError, OutputError
from cflowtool.images import write_bytes

Status = Literal["done", "skipped", "failed"]


@dataclass
class Outcome:
    """What became of one input: a manifest when done, an error when failed, neither when there was nothing to do.

    `output` is the file that is written last, `sha256` the digest of what was read, `files` those of all results."""

    job: Job
    status: Status
    output: Path
    seconds: float = 0.0
    manifest: dict[str, Any] = field(default_factory=dict)
    error: CflowError | None = None
    notes: list[str] = field(default_factory=list)
    sha256: str | None = None
    files: dict[str, str] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """One entry of report.json."""
        reason: dict[str, Any] = {}
        if self.error:
            reason = {"code": self.error.reason, "reason": self.error.what, "hint": self.error.hint}
        files = [{"file": path, "sha256": digest} for path, digest in self.files.items()]
        head = {"input": self.job.name, "sha256": self.sha256, "status": self.status, "output": str(self.output)}
        return {**head, **reason, "outputs": files, "seconds": round(self.seconds, 3), "notes": self.notes}


def digests(paths: Iterable[Path]) -> dict[str, str]:
    """The SHA-256 of files, by their paths; those that cannot be read are left out."""
    found: dict[str, str] = {}
    for path in paths:
        try:
            with path.open("rb") as file:
                found[str(path)] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            continue
    return found


def counted(outcomes: Sequence[Outcome], planned: int) -> dict[str, int]:
    """How many inputs are done, skipped, failed and pending, which is neither, after an end before the end."""
    count = Counter(outcome.status for outcome in outcomes)
    named = {status: count[status] for status in ("done", "skipped", "failed")}
    return {**named, "pending": planned - len(outcomes)}


def write_report(
    folder: Path,
    head: dict[str, Any],
    outcomes: Sequence[Outcome],
    jobs: Sequence[Job] = (),
    shard: Shard | None = None,
) -> Path:
    """Writes report.json, a shard's report-3-of-16.json, or the same with -2 and so on where there is one already.

    `jobs` are all that were planned; those without an outcome, which come last, are pending. Returns the path.
    """
    pending = [{"input": job.name, "status": "pending"} for job in jobs[len(outcomes) :]]
    counts = counted(outcomes, len(outcomes) + len(pending))
    value = {"version": __version__, **head, **counts, "inputs": [o.summary() for o in outcomes] + pending}
    data = (json.dumps(value, indent=1) + "\n").encode()
    name, number = f"report-{shard.index}-of-{shard.count}" if shard else "report", 1
    while True:
        path = folder / f"{name}{'' if number == 1 else f'-{number}'}.json"
        try:
            write_bytes(path, data)
            return path
        except OutputError as error:
            if error.reason != "output-exists":
                raise
        number += 1
