"""What all commands that restore images share, from their options to their exit code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cflowtool.cli import console, process
from cflowtool.cli.account import Account
from cflowtool.cli.options import RestoreOptions
from cflowtool.errors import escape

if TYPE_CHECKING:
    from cflowtool.batch import Estimate, Job, Outcome, Plan, Shard
    from cflowtool.restorer import Restorer

SAMPLING = 0.8
OUT = Path("out")


@dataclass(frozen=True)
class Particular:
    """What one task has beside the options of all: where its masks are, how it is set up, what its mean is cut at."""

    masks: str | None = None
    set_up: dict[str, Any] = field(default_factory=dict)
    threshold: float | None = None


def restore(
    task: str,
    inputs: list[str],
    options: RestoreOptions,
    particular: Particular = Particular(),
    **task_options: object,
) -> None:
    """Restores all inputs and ends with exit code 1 if some of them failed."""
    jobs, shard = _jobs(inputs, options)
    restorer = open_restorer(task, options, **task_options)
    restorer.task.adapt(**particular.set_up)
    plan = _plan(restorer, inputs, options, particular)
    plan.check(restorer, jobs)
    plan.outputs.tidy(jobs)
    account = Account(jobs, console.console(options.quiet), options.json, options.debug)
    ended: BaseException | None = None
    try:
        _work(jobs, restorer, plan, account, options)
    except BaseException as error:
        ended = error
        raise
    finally:
        code = account.close(ended)
        if options.report:
            account.report(plan.outputs.folder, {"task": task, "weights": restorer.card.name}, shard, ended)
    if code:
        raise typer.Exit(code)


def _jobs(inputs: list[str], options: RestoreOptions) -> tuple[list[Job], Shard | None]:
    """The inputs of this part of the run; of many parts one may well have none."""
    from cflowtool import batch
    from cflowtool.errors import UsageError

    if "-" in inputs and options.files_from == "-":
        raise UsageError("standard input is given as an image and as a list", "choose one of them")
    if not inputs and not options.files_from:
        raise UsageError("Missing argument 'INPUT...'", "give images or folders, or a list with --files-from")
    files = batch.listed(options.files_from) if options.files_from else []
    jobs = batch.expand(inputs, options.recursive, options.out or OUT, files)
    if not options.shard:
        return jobs, None
    shard = batch.Shard(*map(int, options.shard.split("/")))
    return [job for job in jobs if shard.takes(job)], shard


def open_restorer(task: str, options: Any, **task_options: object) -> Restorer:
    """The restorer of the weight that --model names, or of the task's own; `options` has model, device and the like."""
    process.set_up_torch(getattr(options, "deterministic", False))
    from cflowtool import weights
    from cflowtool.errors import UsageError
    from cflowtool.restorer import Restorer
    from cflowtool.tasks import TASKS

    if task not in TASKS:
        raise UsageError(f"no task named {escape(task)}", f"one of: {', '.join(TASKS)}")
    default = {"scale": 2} if task == "super-resolve" else {}
    wanted = {name: value for name, value in task_options.items() if value is not None}
    path = find_weight(options, task, **({**default, **wanted} if options.model is None else {}))
    loaded = weights.load(path)
    spec = loaded.card.recipe.task
    unlike = [name for name, value in wanted.items() if spec.options.get(name, default.get(name)) != value]
    if spec.name != task or unlike:
        described = " ".join([spec.name, *(f"{name}={value}" for name, value in spec.options.items())])
        what = f"weight {escape(loaded.card.name)} is for {escape(described)}"
        raise UsageError(what, "choose another --model, or leave it out")
    return Restorer(loaded, options.device, options.precision, options.tile)


def find_weight(options: Any, task: str, **task_options: object) -> Path:
    """The file of the weight that --model names, pulled from its hub first where that has to be and may be."""
    from cflowtool import hub

    say = console.console(options.quiet).print
    return hub.resolve(options.model, task, options.offline, say, **task_options)


def _plan(restorer: Restorer, inputs: list[str], options: RestoreOptions, particular: Particular) -> Plan:
    from cflowtool.batch import Masks, Outputs, Plan
    from cflowtool.canvas import Settings
    from cflowtool.images import Limits

    maps = tuple(name for name in ("mean", "std", "sheet") if getattr(options, name))
    defaults = restorer.card.recipe.defaults
    samples = options.samples or defaults.samples
    estimate = _estimate(restorer, options, particular)
    spread = options.std or (options.sheet and samples > 1)
    mean = options.mean or estimate is not None
    settings = Settings(samples, _temperature(restorer, options), options.seed, options.start, mean, spread)
    many = (samples > 1 and estimate is None) or bool(maps)
    pipe = _is_piped(inputs, options, many)
    folder = Path("-") if pipe else options.out or OUT
    outputs = Outputs(folder, f".{options.format}", many, options.overwrite, options.skip_existing, pipe)
    limits = Limits(options.max_megapixels, options.max_side, options.max_mebibytes)
    masks = Masks(particular.masks, limits)
    set_up = {name: value for name, value in particular.set_up.items() if value is not None}
    return Plan(
        settings,
        outputs,
        options.keep,
        maps,
        options.order,
        estimate,
        masks,
        set_up,
        deterministic=options.deterministic,
        limits=limits,
    )


def _is_piped(inputs: list[str], options: RestoreOptions, many: bool) -> bool:
    """Whether the result goes to standard output: where -o - says so, and from one pipe into another, but for JSON."""
    from cflowtool.errors import UsageError

    told = options.json or options.report
    if options.out != Path("-"):
        implied = options.out is None and inputs == ["-"] and not options.files_from
        return implied and not (told or many or sys.stdout.isatty())
    if told:
        raise UsageError("-o - leaves no room for --json and --report", "name a folder with -o")
    return True


def _temperature(restorer: Restorer, options: RestoreOptions) -> float:
    defaults = restorer.card.recipe.defaults
    if options.temp is not None:
        return float(options.temp)
    several = (options.samples or defaults.samples) > 1
    return defaults.temperature or (SAMPLING if several or options.start else 0.0)


def _estimate(restorer: Restorer, options: RestoreOptions, particular: Particular) -> Estimate | None:
    from cflowtool.batch import Estimate

    defaults = restorer.card.recipe.defaults
    if defaults.estimate != "mean" or options.samples or options.keep:
        return None
    chosen = defaults.threshold if particular.threshold is None else particular.threshold
    return Estimate(chosen if chosen is not None or restorer.task.levels > 2 else 0.5)


def _work(jobs: list[Job], restorer: Restorer, plan: Plan, account: Account, options: RestoreOptions) -> None:
    with console.progress(account.screen) as bar, _outcomes(jobs, restorer, plan, options) as outcomes:
        shown = bar.add_task(restorer.task.name, total=len(jobs))
        for outcome in outcomes:
            bar.advance(shown)
            account.add(outcome)


@contextmanager
def _outcomes(jobs: list[Job], restorer: Restorer, plan: Plan, options: RestoreOptions) -> Iterator[Iterator[Outcome]]:
    """What becomes of the inputs, worked on here or at the workers of a cluster."""
    from cflowtool import batch

    if options.cluster is None and options.workers is None:
        with closing(batch.run(jobs, restorer, plan)) as outcomes:
            yield outcomes
        return
    from cflowtool.batch import cluster

    with (
        cluster.connected(options.cluster, options.workers) as client,
        closing(cluster.run(jobs, restorer, plan, client)) as outcomes,
    ):
        yield outcomes
