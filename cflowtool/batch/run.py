"""The loop over the inputs: read, restore, write, and never let one bad file stop the others."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import time
from collections.abc import Callable, Generator, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cflowtool import images
from cflowtool.batch.inputs import Job
from cflowtool.batch.manifest import described, key_of, text_of
from cflowtool.batch.masks import Mask
from cflowtool.batch.outcome import Outcome, digests
from cflowtool.batch.outputs import State
from cflowtool.batch.pictures import maps, results
from cflowtool.batch.pipeline import Stages, overlapped
from cflowtool.batch.plan import Plan
from cflowtool.canvas import Restoration
from cflowtool.errors import CflowError, InputError, OutputError, UsageError, WeightsError, escape
from cflowtool.images import Picture
from cflowtool.restorer import Restorer

STOPPING = (UsageError, OutputError, WeightsError)


@dataclass
class Ready:
    """An input that is not finished yet, and what is known of it so far."""

    job: Job
    sha256: str = ""
    key: str = ""
    mask: Mask | None = None
    group: Hashable | None = None
    restoration: Restoration | None = None
    seconds: float = 0.0

    @property
    def picture(self) -> Picture:
        """The decoded input."""
        assert self.mask
        return self.mask.picture


def run(jobs: Sequence[Job], restorer: Restorer, plan: Plan) -> Generator[Outcome]:
    """Works on the inputs and yields what became of each, in their order; reading, restoring and writing overlap.

    Raises UsageError, OutputError and WeightsError, which would hit the other inputs, too, when it is that input's
    turn; all else is an Outcome.
    """
    steps = Steps(restorer, plan)
    threads = torch.get_num_threads()
    stages = Stages(
        steps.read, steps.restore, steps.write, steps.pixels, steps.group, lambda: torch.set_num_threads(threads)
    )
    yield from overlapped(jobs, stages)


def run_one(job: Job, restorer: Restorer, plan: Plan) -> Outcome:
    """What `run` makes of one input, in the caller's thread."""
    steps = Steps(restorer, plan)
    [restored] = steps.restore([steps.read(job)])
    return steps.write(restored)


@dataclass
class Steps:
    """What is done to an input, one method a thread: each takes what the one before made, or an Outcome as it is."""

    restorer: Restorer
    plan: Plan

    def read(self, job: Job) -> Ready | Outcome:
        """Reads and decodes an input and its mask, unless the result is there already."""
        return self._timed(Ready(job), self._read)

    def restore(self, inputs: Sequence[Ready | Outcome]) -> Sequence[Ready | Outcome]:
        """Restores inputs together, or one by one where that fails."""
        ready = [each for each in inputs if isinstance(each, Ready)]
        if len(ready) > 1:
            start = time.perf_counter()
            with contextlib.suppress(Exception):  # one of them is to blame, and alone it says so
                self._restore_together(ready)
            for each in ready:
                each.seconds += (time.perf_counter() - start) / len(ready)
        return [self._timed(each, self._restore) for each in inputs]

    def write(self, given: Ready | Outcome) -> Outcome:
        """Writes the results of an input."""
        outcome = self._timed(given, self._write)
        assert isinstance(outcome, Outcome)
        return outcome

    def pixels(self, given: Ready | Outcome) -> int:
        """The pixels of all samples of an input, which is what it takes memory by."""
        if isinstance(given, Outcome):
            return 0
        height, width = given.picture.size
        return int(height * width * self.restorer.model.scale**2 * self.plan.settings.samples)

    def group(self, given: Ready | Outcome) -> Hashable | None:
        """What inputs that may be restored together have in common."""
        return None if isinstance(given, Outcome) else given.group

    def _timed(self, given: Ready | Outcome, step: Callable[[Ready], Ready | Outcome]) -> Ready | Outcome:
        if isinstance(given, Outcome):
            return given
        start = time.perf_counter()
        try:
            found = step(given)
        except Exception as error:
            if isinstance(error, STOPPING) and not _reason_of_one(error):
                raise
            output = self.plan.outputs.marker(given.job)
            found = Outcome(given.job, "failed", output, error=_named(given.job, error), sha256=given.sha256 or None)
        found.seconds = given.seconds + time.perf_counter() - start
        return found

    def _read(self, ready: Ready) -> Ready | Outcome:
        job, plan = ready.job, self.plan
        if job.problem and job.problem.reason == "symlink":
            return Outcome(job, "skipped", plan.outputs.marker(job), notes=[job.problem.what])
        content = job.content(plan.limits)
        ready.sha256 = hashlib.sha256(content).hexdigest()
        ready.key = key_of(ready.sha256 + plan.masks.digest(job), self.restorer, plan)
        if plan.outputs.skip_existing and (state := plan.outputs.state(job, ready.key)) != "absent":
            return self._existing(ready, state)
        picture = images.read(content, plan.limits, job.name)
        plan.limits.check(*(side * self.restorer.model.scale for side in picture.size))
        ready.mask = plan.masks.of(job, picture)
        with contextlib.suppress(Exception):  # what is wrong with it is said when it is restored
            ready.group = self.restorer.group(ready.picture, ready.mask.values)
        return ready

    def _existing(self, ready: Ready, state: State) -> Outcome:
        output = self.plan.outputs.marker(ready.job)
        if state == "other":
            what = f"{escape(output)}: exists already, made with other settings or from another image"
            raise InputError(what, "add --overwrite, or choose another folder with -o", "output-exists")
        return Outcome(ready.job, "skipped", output, sha256=ready.sha256, files=digests(self._files(ready.job)))

    def _files(self, job: Job) -> list[Path]:
        files = [] if self.plan.outputs.pipe else [self.plan.outputs.file(job, name) for name in self.plan.names()]
        return [*files, self.plan.outputs.marker(job)] if self.plan.outputs.many else files

    def _restore_together(self, ready: Sequence[Ready]) -> None:
        pictures, masks = [each.picture for each in ready], [each.mask.values for each in ready if each.mask]
        found = self.restorer.restore_many(pictures, self.plan.settings, masks)
        for each, restoration in zip(ready, found, strict=True):
            each.restoration = restoration

    def _restore(self, ready: Ready) -> Ready:
        if ready.restoration is None and ready.mask:
            ready.restoration = self.restorer.restore(ready.picture, self.plan.settings, ready.mask.values)
        return ready

    def _write(self, ready: Ready) -> Outcome:
        job, plan, restoration = ready.job, self.plan, ready.restoration
        assert restoration
        about = described(job, ready.sha256, ready.picture, self.restorer, restoration, plan)
        shown = results(restoration, plan)
        self._store(job, ready.key, shown, maps(shown, restoration, about, plan), about)
        notes = [*restoration.notes, *(note for picture in shown for note in picture.notes)]
        output, files = plan.outputs.marker(job), digests(self._files(job))
        return Outcome(job, "done", output, 0.0, about, None, list(dict.fromkeys(notes)), ready.sha256, files)

    def _store(
        self, job: Job, key: str, shown: list[Picture], summaries: dict[str, Picture], about: dict[str, Any]
    ) -> None:
        outputs, text = self.plan.outputs, text_of(about, key)
        stale = outputs.begin(job)
        for picture, sample in zip(shown, about["samples"], strict=True):
            own = {
                f"cflow:{name}": str(sample[name]) for name in ("index", "rank", "log_prob") if sample[name] is not None
            }
            outputs.picture(job, sample["file"], picture, {**text, **own})
        for name, picture in summaries.items():
            outputs.picture(job, f"{name}.png", picture, text)
        written = set(self._files(job))
        outputs.manifest(job, {**about, "key": key}, [path for path in stale if path not in written])


def _named(job: Job, error: Exception) -> CflowError:
    """The error of one input, which says which one it is."""
    name = escape(job.name)
    if isinstance(error, CflowError):
        reason = _reason_of_one(error)
        kind = InputError if reason else type(error)
        what = error.what if name in error.what else f"{name}: {error.what}"
        named = kind(what, error.hint, reason or error.reason)
        named.__cause__ = error.__cause__
        return named
    what = f"{name}: {type(error).__name__}: {escape(error, 160)}"
    unexpected = InputError(what, "run it alone with --debug and report it", "internal")
    unexpected.__cause__ = error
    return unexpected


def _reason_of_one(error: Exception) -> str | None:
    """Why an output cannot be written where that is no reason for the next one to fare the same."""
    if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.ENAMETOOLONG:
        return "name-too-long"
    return error.reason if isinstance(error, OutputError) and error.reason == "output-exists" else None
