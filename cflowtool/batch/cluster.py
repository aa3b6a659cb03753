"""A run spread over the processes of a dask cluster, of this machine's or of others that share its file system."""

from __future__ import annotations

import functools
import os
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from cflowtool import images, weights
from cflowtool.batch.inputs import Job
from cflowtool.batch.outcome import Outcome
from cflowtool.batch.plan import Plan
from cflowtool.batch.run import run_one
from cflowtool.errors import InputError, UsageError, WeightsError, escape
from cflowtool.restorer import Restorer

if TYPE_CHECKING:
    from distributed import Client, Future

_SECONDS_TO_CONNECT = 20
# Inputs that wait at the workers, so that a slow one at the head of the line keeps nobody idle.
_AHEAD = 16

_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Site:
    """What a worker needs to be what this process is: the weight, how to compute with it, and the working folder."""

    weight: Path
    sha256: str
    device: str
    precision: str
    tile: str
    settings: tuple[tuple[str, Any], ...]
    folder: Path
    threads: int
    fast_convolutions: bool
    strictness: int

    @classmethod
    def of(cls, restorer: Restorer, plan: Plan) -> Site:
        """Return this process's."""
        return cls(
            restorer.path.resolve(),
            restorer.sha256,
            restorer.device.type,
            restorer.precision,
            restorer.tile,
            tuple(sorted(plan.options.items())),
            Path.cwd(),
            torch.get_num_threads(),
            bool(torch.backends.mkldnn.enabled),
            torch.get_deterministic_debug_mode(),
        )


@contextmanager
def connected(address: str | None, workers: int | None) -> Iterator[Client]:
    """A client of the cluster at ``tcp://host:port``, or of one of so many processes here, which end with the block.

    Raises UsageError where the package is missing and where nobody answers.
    """
    if find_spec("distributed") is None:
        raise UsageError("several processes need the package distributed", "pip install 'cflowtool[cluster]'")
    from distributed import Client, LocalCluster

    if address is None:
        options: dict[str, Any] = {"threads_per_worker": 1, "memory_limit": 0, "dashboard_address": None}
        with LocalCluster(n_workers=workers, silence_logs=50, **options) as local, Client(local) as client:
            yield client
        return
    try:
        client = Client(address, timeout=_SECONDS_TO_CONNECT)
    except (OSError, ValueError) as error:
        what = f"no cluster answers at {escape(address)}: {type(error).__name__}"
        raise UsageError(what, "start one with dask scheduler, and workers with dask worker ADDRESS") from error
    with client:
        yield client


def run(jobs: Sequence[Job], restorer: Restorer, plan: Plan, client: Client) -> Generator[Outcome]:
    """Works on the inputs at the workers and yields what became of each, in their order, as ``batch.run`` does.

    What a worker was working on when it died is done again by another, and what it left is removed. Raises UsageError
    for standard input and output.
    """
    if plan.outputs.pipe or any(job.source is None for job in jobs):
        raise UsageError("standard input and output stay in one process", "leave --workers and --cluster out")
    site, room = Site.of(restorer, plan), _AHEAD * max(1, len(client.nthreads()))
    waiting: deque[tuple[Job, Future[Outcome]]] = deque()
    left = iter(jobs)
    try:
        while True:
            for job in left:
                waiting.append((job, client.submit(_done, job, plan, site, pure=False)))
                if len(waiting) >= room:
                    break
            if not waiting:
                return
            yield _outcome(*waiting.popleft(), plan)
    finally:
        client.cancel([future for _, future in waiting])
        plan.outputs.tidy(jobs)


def _outcome(job: Job, future: Future[Outcome], plan: Plan) -> Outcome:
    from distributed import KilledWorker

    try:
        found: Outcome = future.result()
    except KilledWorker:
        what = f"{escape(job.name)}: every worker that took it was killed"
        error = InputError(what, "give the workers more memory, or use a smaller --tile", "worker-killed")
        found = Outcome(job, "failed", plan.outputs.marker(job), error=error)
    return found


def _done(job: Job, plan: Plan, site: Site) -> Outcome:
    """Work on one input, in a worker."""
    with _one_at_a_time:
        restorer = _restorer(site)
        found = run_one(job, restorer, plan)
        if found.error and found.error.reason == "output-exists" and not plan.outputs.skip_existing:
            # The check before the run found nothing there: a worker that was killed got this far, or all of the way.
            found = run_one(job, restorer, replace(plan, outputs=replace(plan.outputs, skip_existing=True)))
            if found.status == "skipped":
                found = run_one(job, restorer, replace(plan, outputs=replace(plan.outputs, overwrite=True)))
        return found


@functools.lru_cache(1)
def _restorer(site: Site) -> Restorer:
    """Return the worker's one model, set up as in the process that the command runs in."""
    os.chdir(site.folder)
    torch.set_num_threads(site.threads)
    torch.backends.mkldnn.set_flags(site.fast_convolutions)
    torch.set_deterministic_debug_mode(site.strictness)
    images.guard()
    loaded = weights.load(site.weight)
    if loaded.sha256 != site.sha256:
        what = f"weight {escape(site.weight)} is another file at a worker"
        raise WeightsError(what, "let all machines see the same files")
    made = Restorer(loaded, site.device, site.precision, site.tile)
    made.task.adapt(**dict(site.settings))
    return made
