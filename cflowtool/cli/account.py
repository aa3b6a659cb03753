"""What is said of the inputs of a run: lines, JSON objects, the summary at its end, the report."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cflowtool.cli import console, process
from cflowtool.errors import CflowError, ExitCode, OutputError, escape

if TYPE_CHECKING:
    from rich.console import Console

    from cflowtool.batch import Job, Outcome, Shard

STDOUT = "standard output"


@dataclass
class Account:
    """What has become of the inputs of a run so far, and who wants to know."""

    jobs: Sequence[Job]
    screen: Console
    json: bool = False
    debug: bool = False
    outcomes: list[Outcome] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    @property
    def errors(self) -> list[CflowError]:
        """What the failed inputs failed of."""
        return [outcome.error for outcome in self.outcomes if outcome.error]

    def add(self, outcome: Outcome) -> None:
        """Takes the next input's outcome and tells of it; failures are told of together at the end."""
        self.outcomes.append(outcome)
        if outcome.error is None:
            self.screen.print(line(outcome))
        elif self.debug and outcome.error.__cause__:
            self.screen.print("".join(traceback.format_exception(outcome.error.__cause__)).rstrip())
        if self.json:
            console.emit(as_object(outcome))

    def close(self, ended: BaseException | None) -> int:
        """Prints the summary and the failures, and returns the exit code; `ended` is what the run was stopped by."""
        from cflowtool.batch import counted

        failed = self.errors
        if ended and isinstance(ended, CflowError):
            self._blame(ended)
        seconds = time.perf_counter() - self.started
        console.summarise(counted(self.outcomes, len(self.jobs)), seconds, self.screen.quiet)
        if self.debug:
            from cflowtool import memory

            self.screen.print(f"peak memory: {memory.peak()}")
        console.list_failures(failed, len(self.jobs))
        return exit_code(ended, bool(self.errors))

    def report(self, folder: Path, head: dict[str, Any], shard: Shard | None, ended: BaseException | None) -> None:
        """Writes the report; that it cannot be written is only said where the run was stopped anyway."""
        from cflowtool.batch import write_report

        about = {**head, "planned": len(self.jobs), "exit_code": exit_code(ended, bool(self.errors))}
        try:
            write_report(folder, about, self.outcomes, self.jobs, shard)
        except OutputError as error:
            if ended is None:
                raise
            console.complain(error.what, error.hint)

    def _blame(self, error: CflowError) -> None:
        """The input that a run was stopped by is the one after those that are known of."""
        from cflowtool.batch import Outcome

        if len(self.outcomes) < len(self.jobs) and error.reason != "stdout":
            job = self.jobs[len(self.outcomes)]
            self.outcomes.append(Outcome(job, "failed", Path(job.stem), error=error))
            if self.json:
                console.emit(as_object(self.outcomes[-1]))


def exit_code(ended: BaseException | None, some_failed: bool) -> int:
    """The exit code of a run that `ended` stopped, or that came to its end."""
    if isinstance(ended, CflowError):
        return ended.code
    if isinstance(ended, process.Terminated):
        return ExitCode.TERMINATED
    if isinstance(ended, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    return ExitCode.INTERNAL if ended else ExitCode.SOME_FAILED if some_failed else ExitCode.OK


def line(outcome: Outcome) -> str:
    """One input that did not fail, in a line and its notes."""
    shown = outcome.output.parent if outcome.output.name == "samples.json" else outcome.output
    name = escape(outcome.job.name)
    output = STDOUT if outcome.output.parent == Path("-") else escape(shown)
    if outcome.status == "skipped":
        why = f"finished before ({output})" if outcome.sha256 else "skipped"
        return f"{name}: {'; '.join([why, *map(escape, outcome.notes)])}"
    notes = "".join(f"\n  note: {escape(note)}" for note in outcome.notes)
    return f"{name} -> {output} ({outcome.seconds:.1f} s){notes}"


def as_object(outcome: Outcome) -> dict[str, Any]:
    """One input for --json."""
    if outcome.status == "done":
        return {"status": "done", **outcome.manifest, "output": str(outcome.output.parent), "notes": outcome.notes}
    told: dict[str, Any] = {"notes": outcome.notes}
    if outcome.error:
        about = outcome.error
        told = {"error": {"code": about.reason, "what": about.what, "hint": about.hint}}
    head = {"status": outcome.status, "input": {"name": outcome.job.name, "sha256": outcome.sha256}}
    return {**head, "output": str(outcome.output.parent), **told}
