"""What all commands that restore images share, from their options to their exit code."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import typer

from cflowtool.cli import console, process
from cflowtool.cli.options import RestoreOptions
from cflowtool.errors import ExitCode, escape

if TYPE_CHECKING:
    from cflowtool.batch import Estimate, Job, Outcome, Plan
    from cflowtool.restorer import Restorer

SAMPLING = 0.8


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
    from cflowtool import batch

    jobs = batch.expand(inputs, options.recursive, options.out)
    restorer = open_restorer(task, options, **task_options)
    restorer.task.adapt(**particular.set_up)
    plan = _plan(restorer, options, particular)
    plan.check(restorer, jobs)
    outcomes: list[Outcome] = []
    try:
        _work(jobs, restorer, plan, options, outcomes)
    finally:
        failed = [outcome.error for outcome in outcomes if outcome.error]
        console.list_failures(failed, len(jobs))
        if options.report:
            head = {"task": task, "weights": restorer.card.name, "planned": len(jobs)}
            batch.write_report(options.out, head, outcomes)
    if failed:
        raise typer.Exit(ExitCode.SOME_FAILED)


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
    path = weights.resolve(options.model, task, **({**default, **wanted} if options.model is None else {}))
    loaded = weights.load(path)
    spec = loaded.card.recipe.task
    unlike = [name for name, value in wanted.items() if spec.options.get(name, default.get(name)) != value]
    if spec.name != task or unlike:
        described = " ".join([spec.name, *(f"{name}={value}" for name, value in spec.options.items())])
        what = f"weight {escape(loaded.card.name)} is for {escape(described)}"
        raise UsageError(what, "choose another --model, or leave it out")
    return Restorer(loaded, options.device, options.precision, options.tile)


def _plan(restorer: Restorer, options: RestoreOptions, particular: Particular) -> Plan:
    from cflowtool.batch import Masks, Outputs, Plan
    from cflowtool.canvas import Settings

    maps = tuple(name for name in ("mean", "std", "sheet") if getattr(options, name))
    defaults = restorer.card.recipe.defaults
    samples = options.samples or defaults.samples
    estimate = _estimate(restorer, options, particular)
    spread = options.std or (options.sheet and samples > 1)
    mean = options.mean or estimate is not None
    settings = Settings(samples, _temperature(restorer, options), options.seed, options.start, mean, spread)
    many = (samples > 1 and estimate is None) or bool(maps)
    outputs = Outputs(options.out, f".{options.format}", many, options.overwrite, options.skip_existing)
    masks = Masks(particular.masks)
    set_up = {name: value for name, value in particular.set_up.items() if value is not None}
    return Plan(settings, outputs, options.keep, maps, options.order, estimate, masks, set_up)


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


def _work(jobs: list[Job], restorer: Restorer, plan: Plan, options: RestoreOptions, outcomes: list[Outcome]) -> None:
    from cflowtool import batch

    screen = console.console(options.quiet)
    with console.progress(screen) as bar:
        shown = bar.add_task(restorer.task.name, total=len(jobs))
        for outcome in batch.run(jobs, restorer, plan):
            outcomes.append(outcome)
            bar.advance(shown)
            screen.print(_line(outcome)) if outcome.error is None else None
            if outcome.error and options.debug and outcome.error.__cause__:
                screen.print("".join(traceback.format_exception(outcome.error.__cause__)).rstrip())
            if options.json:
                console.emit(_object(outcome))


def _line(outcome: Outcome) -> str:
    shown = outcome.output.parent if outcome.output.name == "samples.json" else outcome.output
    name, output = escape(outcome.job.name), escape(shown)
    if outcome.status == "skipped":
        return f"{name}: finished before ({output})"
    notes = "".join(f"\n  note: {escape(note)}" for note in outcome.notes)
    return f"{name} -> {output} ({outcome.seconds:.1f} s){notes}"


def _object(outcome: Outcome) -> dict[str, Any]:
    if outcome.status == "done":
        return {"status": "done", **outcome.manifest, "output": str(outcome.output.parent), "notes": outcome.notes}
    error = {"error": {"what": outcome.error.what, "hint": outcome.error.hint}} if outcome.error else {}
    return {
        "status": outcome.status,
        "input": {"name": outcome.job.name},
        "output": str(outcome.output.parent),
        **error,
    }
