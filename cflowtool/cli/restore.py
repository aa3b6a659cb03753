"""What all commands that restore images share, from their options to their exit code."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

import typer

from cflowtool.cli import console, process
from cflowtool.cli.options import RestoreOptions
from cflowtool.errors import ExitCode, escape

if TYPE_CHECKING:
    from cflowtool.batch import Job, Outcome, Plan
    from cflowtool.restorer import Restorer

SAMPLING = 0.8


def restore(task: str, inputs: list[str], options: RestoreOptions, **task_options: object) -> None:
    """Restores all inputs and ends with exit code 1 if some of them failed."""
    from cflowtool import batch

    jobs = batch.expand(inputs, options.recursive, options.out)
    restorer = open_restorer(task, options, **task_options)
    plan = _plan(restorer, options)
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


def _plan(restorer: Restorer, options: RestoreOptions) -> Plan:
    from cflowtool.batch import Outputs, Plan
    from cflowtool.canvas import Settings

    maps = tuple(name for name in ("mean", "std", "sheet") if getattr(options, name))
    defaults = restorer.card.recipe.defaults
    samples = options.samples or defaults.samples
    temperature = options.temp
    if temperature is None:
        temperature = defaults.temperature or (SAMPLING if samples > 1 or options.start else 0.0)
    spread = options.std or (options.sheet and samples > 1)
    settings = Settings(samples, temperature, options.seed, options.start, mean=options.mean, std=spread)
    many = samples > 1 or bool(maps)
    outputs = Outputs(options.out, f".{options.format}", many, options.overwrite, options.skip_existing)
    return Plan(settings, outputs, options.keep, maps, options.order)


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
