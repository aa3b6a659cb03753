"""cflow train."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cflowtool.cli import console, process
from cflowtool.cli.options import Debug, Device, DeviceOption, Json, Offline, Quiet, TaskName
from cflowtool.errors import UsageError, escape

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID
    from torch import Tensor

    from cflowtool.recipes import Recipe
    from cflowtool.trainer import Trainer

WEIGHT = "weights.safetensors"
COMMANDS = ("super-resolve", "denoise", "colorize", "inpaint", "segment-vessels")
SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0}
LINES_EVERY = 30.0

Folders = Annotated[
    list[Path],
    typer.Option("--data", metavar="DIR", help="Folder of photographs; may be given again.", show_default=False),
]


def duration(text: str | None) -> float | None:
    """The seconds of 90m, 1h30m or 300s."""
    if text is None:
        return None
    parts = re.findall(r"(\d+(?:\.\d+)?)([hms])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UsageError(f"--max-time {escape(text)} is no time", "write it like 90m, 1h30m or 300s")
    return sum(float(number) * SECONDS[unit] for number, unit in parts)


@dataclass(frozen=True)
class TrainingOptions:
    """How long to train, from what, and where to."""

    recipe: Annotated[
        str | None,
        typer.Option("--recipe", metavar="NAME|FILE", help="The recipe: bundled or a TOML file.", show_default=False),
    ] = None
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Folder of the run (runs/RECIPE).", show_default=False),
    ] = None
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out, if there is one.")] = False
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Steps, instead of the recipe's.", show_default=False)
    ] = None
    max_time: Annotated[
        str | None, typer.Option("--max-time", metavar="TIME", help="Stop after 90m, 1h30m, 300s.", show_default=False)
    ] = None
    init: Annotated[
        str | None,
        typer.Option(
            "--init",
            metavar="NAME|FILE|ORG/NAME",
            help="Start from the tensors of a weight that fit.",
            show_default=False,
        ),
    ] = None
    offline: Offline = False
    device: DeviceOption = Device.AUTO
    json: Json = False
    quiet: Quiet = False
    debug: Debug = False


def train(task: TaskName, data: Folders, options: TrainingOptions) -> None:
    """Train a model from a recipe on folders of photographs.

    The run's folder gets checkpoints, metrics.jsonl, a sheet of samples at every validation, and weights.safetensors
    at the end. 5 % of the photographs (15 % of fundus photographs), chosen by name, are never trained on but validated
    on. Masks are looked for beside the photographs' folder: masks/ to segment, manual1/ and fov/ to segment vessels.
    """
    limit = duration(options.max_time)
    for folder in data:
        if not folder.is_dir():
            raise UsageError(f"--data {escape(folder)} is no folder", "give folders of photographs")
    process.set_up_torch()
    _need_accelerate()
    from cflowtool.device import choose_device
    from cflowtool.export import export
    from cflowtool.trainer import Trainer, TrainOptions

    recipe = _recipe(task, options.recipe)
    device = choose_device(str(options.device)).type
    out = options.out or Path("runs") / recipe.name
    start = _start(task, options)
    screen = Screen(options.quiet or os.environ.get("RANK", "0") != "0", limit)
    told = TrainOptions(data, out, options.steps, limit, options.resume, start, device)
    with screen.bar:
        trainer = Trainer(recipe, told, screen.observe)
        screen.begin(trainer)
        trainer.run()
    if not trainer.is_first:
        return
    screen.console.print("fitting the spread of the samples on training photographs")
    card = export(trainer, out / WEIGHT)
    screen.console.print(f"{card.steps} steps in {_clock(trainer.state.seconds)}; the weight is {escape(out / WEIGHT)}")
    if task in COMMANDS:
        screen.console.print(f"use it with: cflow {task} INPUT --model {escape(out / WEIGHT)}")
    if options.json:
        figures = {"steps": card.steps, "seconds": trainer.state.seconds, "validation": screen.validation}
        console.emit({"weight": str(out / WEIGHT), **figures})


def _start(task: str, options: TrainingOptions) -> dict[str, Tensor]:
    from cflowtool import hub, weights

    if options.init is None:
        return {}
    path = hub.resolve(options.init, task, options.offline, console.console(options.quiet).print)
    return weights.load(path).model.state_dict()


def _need_accelerate() -> None:
    if find_spec("accelerate") is None:
        raise UsageError("training needs the package accelerate", "pip install 'cflowtool[train]'")


def _recipe(task: str, name: str | None) -> Recipe:
    from cflowtool import recipes
    from cflowtool.tasks import TASKS

    if task not in TASKS:
        raise UsageError(f"no task named {escape(task)}", f"one of: {', '.join(TASKS)}")
    chosen = name or recipes.DEFAULT.get(task)
    if chosen is None:
        bundled = [known for known in recipes.names() if recipes.load(known).task.name == task]
        what = ", ".join(bundled) or "FILE"
        raise UsageError(f"{task} has no recipe of its own to start from", f"give --recipe: {what}")
    recipe = recipes.load(chosen)
    if recipe.task.name != task:
        raise UsageError(f"recipe {escape(chosen)} is for {recipe.task.name}", f"use cflow train {recipe.task.name}")
    return recipe


class Screen:
    """Shows a run: a bar where stderr is a terminal, else a line every half minute."""

    def __init__(self, quiet: bool, limit: float | None) -> None:
        from rich.progress import BarColumn, TextColumn

        self.console = console.console(quiet)
        columns = BarColumn(), TextColumn("{task.description}", markup=False)
        self.bar: Progress = console.progress(self.console, *columns)
        self.shown: TaskID = self.bar.add_task("reading photographs", total=None)
        self.limit = limit
        self.validation: dict[str, Any] = {}
        self.started: tuple[int, float] | None = None
        self.printed = 0.0
        self.loss: float | None = None

    def begin(self, trainer: Trainer) -> None:
        """Says what is trained, on what, and where it goes."""
        used, passed = len(trainer.crops.photos), trainer.found - len(trainer.crops.photos)
        parameters = sum(p.numel() for p in trainer.model.parameters())
        over = f", {passed} passed over as unreadable or too small" if passed else ""
        at = f" from step {trainer.state.step}" if trainer.state.step else ""
        self.console.print(f"{used} photographs to train on, {trainer.kept} held out{over}; {parameters:,} parameters")
        where = f"on {trainer.accelerator.device}, into {escape(trainer.options.out)}"
        self.console.print(f"up to {trainer.steps} steps{at} {where}")
        if not trainer.validator.pairs:
            self.console.print("no held-out photograph is large enough: no validation")

    def observe(self, event: dict[str, Any]) -> None:
        """Takes an event of the trainer."""
        if event["event"] == "note":
            self.console.print(event["text"])
            return
        if event["event"] == "validate":
            self.validation = {key: value for key, value in event.items() if isinstance(value, int | float)}
            self.console.print(f"validation: {_figures(self.validation)}")
            return
        done, text = self._share(event), self._text(event)
        self.bar.update(self.shown, total=1.0, completed=done, description=text)
        if not self.console.is_terminal and event["seconds"] - self.printed >= LINES_EVERY:
            self.printed = event["seconds"]
            self.console.print(text)

    def _share(self, event: dict[str, Any]) -> float:
        shares = [event["step"] / event["steps"]]
        return float(max(shares + ([event["seconds"] / self.limit] if self.limit else [])))

    def _left(self, event: dict[str, Any]) -> float:
        self.started = self.started or (event["step"] - 1, event["seconds"])
        step, seconds = self.started
        left = (event["steps"] - event["step"]) * (event["seconds"] - seconds) / max(1, event["step"] - step)
        return float(left if self.limit is None else max(0.0, min(left, self.limit - event["seconds"])))

    def _text(self, event: dict[str, Any]) -> str:
        self.loss = event["loss"] if self.loss is None else 0.98 * self.loss + 0.02 * event["loss"]
        shown = {"bits_per_dim": "{:.3f} bits/dim", "psnr": "PSNR {:.2f} dB"}
        measured = [text.format(self.validation[key]) for key, text in shown.items() if key in self.validation]
        words = [f"step {event['step']} of {event['steps']}", f"loss {self.loss:.3f}", *measured]
        return ", ".join([*words, f"{_clock(self._left(event))} left"])


def _figures(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value:.4g}" for key, value in values.items() if key != "step")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
