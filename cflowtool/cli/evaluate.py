"""cflow evaluate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cflowtool.cli import console, process
from cflowtool.cli.denoise import Sigma, known
from cflowtool.cli.options import (
    Debug,
    Deterministic,
    Device,
    DeviceOption,
    Json,
    Model,
    Offline,
    Precision,
    PrecisionOption,
    Quiet,
    ScaleOption,
    TaskName,
    Tile,
)
from cflowtool.cli.restore import open_restorer
from cflowtool.errors import ExitCode, InputError, escape

if TYPE_CHECKING:
    from cflowtool.restorer import Restorer

Folder = Annotated[Path, typer.Option("--data", help="Folder of ground truth.", metavar="DIR", show_default=False)]


_SAMPLES, _TEMPERATURE = 10, 0.8


@dataclass(frozen=True)
class EvaluateOptions:
    """What is measured, and how."""

    input: Annotated[
        Path | None,
        typer.Option(
            "--input", metavar="DIR", help="Folder of degraded images of the same names, instead of making them."
        ),
    ] = None
    scale: ScaleOption = None
    sigma: Sigma = "auto"
    holes: Annotated[
        str | None,
        typer.Option("--holes", metavar="KIND", help="Holes for inpaint: centre, scratches, strokes, mixed or any."),
    ] = None
    samples: Annotated[
        int | None,
        typer.Option("--samples", min=1, help="Samples for best and mean.  \\[default: the weight's, 10 if that is 1]"),
    ] = None
    temp: Annotated[
        float | None,
        typer.Option(
            "--temp", min=0, help="Temperature for best and mean.  \\[default: the weight's, 0.8 if that is 0]"
        ),
    ] = None
    seed: Annotated[int, typer.Option("--seed", help="Seed of the samples.")] = 0
    held_out: Annotated[
        bool,
        typer.Option("--held-out", help="Use only the images that training leaves out, by the hash of their names."),
    ] = False
    calibrate: Annotated[
        list[Path] | None,
        typer.Option(
            "--calibrate",
            metavar="DIR",
            help="Photographs never trained on, to fit the temperature at which the intervals of samples hold "
            "what they say; may be given again.",
        ),
    ] = None
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Use the first N images only.")] = None
    model: Model = None
    offline: Offline = False
    device: DeviceOption = Device.AUTO
    precision: PrecisionOption = Precision.AUTO
    tile: Tile = "auto"
    deterministic: Deterministic = False
    json: Json = False
    quiet: Quiet = False
    debug: Debug = False


def evaluate(task: TaskName, data: Folder, options: EvaluateOptions) -> None:
    """Measure a weight over a folder of ground truth, in the field's protocol.

    Each image is degraded, restored and compared with itself: at temperature 0 (temp0), the most likely of the samples
    (best), their mean, and what people get without a model. For super-resolve PSNR and SSIM are of the Y channel
    (BT.601, 16-235), a border of as many pixels as the scale cropped; for pictures otherwise PSNR is over RGB, of
    inpaint also of the hole alone; for segment-vessels F-score and IoU inside the field of view. All of 8-bit images.
    """
    from cflowtool.evaluate import Protocol, calibrate
    from cflowtool.evaluate import evaluate as measure

    restorer = open_restorer(task, options, scale=int(options.scale) if options.scale else None)
    settings = {"sigma": known(options.sigma), "holes": options.holes}
    screen = console.console(options.quiet)
    with console.progress(screen) as bar:
        shown = bar.add_task("measuring", total=None)

        def observe(done: int, of: int, name: str) -> None:
            bar.update(shown, completed=done, total=of, description=escape(name, 40))

        protocol = Protocol(*_drawn(restorer, options), options.seed, held_out=options.held_out, settings=settings)
        if folders := options.calibrate:
            protocol = process.aside(lambda: calibrate(restorer, folders, protocol))
        found = process.aside(lambda: measure(restorer, data, protocol, options.input, options.limit, observe))
    if options.json:
        console.emit(found)
    else:
        _show(found, options.quiet)
    total = found["images"] + len(found["failed"])
    if found["failed"]:
        errors = [InputError(what, "evaluate leaves such images out") for what in found["failed"]]
        console.list_failures(errors, total)
        raise typer.Exit(ExitCode.SOME_FAILED)


def _drawn(restorer: Restorer, options: EvaluateOptions) -> tuple[int, float]:
    own = restorer.card.recipe.defaults
    samples = options.samples or (own.samples if own.samples > 1 else _SAMPLES)
    return samples, (own.temperature or _TEMPERATURE) if options.temp is None else options.temp


def _show(found: dict[str, Any], quiet: bool) -> None:
    results: dict[str, dict[str, float]] = found["results"]
    metrics = list(dict.fromkeys(metric for values in results.values() for metric in values))
    rows = [(name, *(f"{values[m]:.4f}" if m in values else "" for m in metrics)) for name, values in results.items()]
    console.table(
        f"{found['task']}, {found['weights']['name']}, {found['images']} images",
        ("result", *metrics),
        rows,
        quiet=quiet,
    )
    shown = ("results", "per_image", "protocol", "task", "model", "weights", "data", "images", "failed")
    figures = {name: value for name, value in _leaves(found) if name.split(".")[0] not in shown}
    console.table("", ("figure", "value"), [(name, f"{value:.6g}") for name, value in figures.items()], quiet=quiet)


def _leaves(value: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, inner in value.items():
        if isinstance(inner, dict):
            found += _leaves(inner, f"{prefix}{name}.")
        elif isinstance(inner, int | float):
            found.append((f"{prefix}{name}", inner))
    return found
