"""cflow rank."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cflowtool.cli import console, process
from cflowtool.cli.denoise import Sigma, known
from cflowtool.cli.options import (
    Debug,
    Device,
    DeviceOption,
    Json,
    Model,
    Offline,
    Precision,
    PrecisionOption,
    Quiet,
    Scale,
    ScaleOption,
    Tile,
)
from cflowtool.cli.restore import open_restorer
from cflowtool.errors import CflowError, ExitCode, InputError

if TYPE_CHECKING:
    from cflowtool.batch.masks import Mask
    from cflowtool.images import Picture
    from cflowtool.restorer import Restorer


@dataclass(frozen=True)
class RankOptions:
    """How candidates are scored."""

    scale: ScaleOption = None
    draws: Annotated[
        int, typer.Option("--draws", min=0, help="Score the mean of so many dequantizations instead of the midpoint.")
    ] = 0
    seed: Annotated[int, typer.Option("--seed", help="Seed of the dequantizations.")] = 0
    mask: Annotated[
        str | None,
        typer.Option(
            "--mask",
            metavar="FILE|alpha",
            help="Of inpaint, what was filled; of segment-vessels, the field of view.",
            show_default=False,
        ),
    ] = None
    sigma: Sigma = "auto"
    model: Model = None
    offline: Offline = False
    device: DeviceOption = Device.AUTO
    precision: PrecisionOption = Precision.AUTO
    tile: Tile = "auto"
    json: Json = False
    quiet: Quiet = False
    debug: Debug = False


def rank(
    input: Annotated[Path, typer.Argument(metavar="INPUT", help="The degraded image.", show_default=False)],
    candidates: Annotated[
        list[Path],
        typer.Argument(metavar="CANDIDATE", help="Restored images, whoever made them.", show_default=False),
    ],
    task: Annotated[
        str, typer.Option("--task", metavar="TASK", help="What the candidates restore.", show_default=False)
    ],
    options: RankOptions,
) -> None:
    """Order candidate restorations of one image by their log-likelihood, the most likely first.

    log_prob is log p(candidate | input) in nats under the model at temperature 1. It orders candidates of one input; it
    is not a quality score, and comparing it across inputs says nothing.
    """
    from cflowtool import images
    from cflowtool.batch import Job, Masks

    mask = Masks(options.mask).of(Job(input, input), images.read(input))
    given = mask.picture
    pictures, failed = _read(candidates)
    scale = int(options.scale) if options.scale else _scale(task, given, pictures, options)
    restorer = open_restorer(task, options, **({} if scale is None else {"scale": scale}))
    restorer.task.adapt(sigma=known(options.sigma))
    rows = process.aside(lambda: _scored(restorer, mask, pictures, failed, options))
    head = {"input": str(input), "task": task, "weights": {"name": restorer.card.name, "sha256": restorer.sha256}}
    if options.json:
        console.emit({**head, "model": restorer.card.recipe.model.name, "candidates": rows})
    else:
        cells = [(row["file"], row["rank"], f"{row['log_prob']:.2f}", f"{row['bits_per_dim']:.4f}") for row in rows]
        console.table(
            f"most likely first, by {restorer.card.name}",
            ("candidate", "rank", "log_prob (nats)", "bits/dim"),
            cells,
            quiet=options.quiet,
        )
    console.list_failures(failed, len(candidates))
    if failed:
        raise typer.Exit(ExitCode.SOME_FAILED)


def _read(paths: list[Path]) -> tuple[dict[Path, Picture], list[CflowError]]:
    from cflowtool import images

    pictures: dict[Path, Picture] = {}
    failed: list[CflowError] = []
    for path in paths:
        try:
            pictures[path] = images.read(path)
        except InputError as error:
            failed.append(error)
    return pictures, failed


def _scale(task: str, given: Picture, pictures: dict[Path, Picture], options: RankOptions) -> int | None:
    """The factor between the input and the first candidate that fits one, so that --scale need not be said."""
    if task != "super-resolve" or options.model is not None:
        return None
    height, width = given.size
    known = [int(scale) for scale in Scale]
    sizes = [picture.size for picture in pictures.values()]
    return next((factor for size in sizes for factor in known if size == (height * factor, width * factor)), None)


def _scored(
    restorer: Restorer, mask: Mask, pictures: dict[Path, Picture], failed: list[CflowError], options: RankOptions
) -> list[dict[str, Any]]:
    fitting: dict[Path, Picture] = {}
    for path, picture in pictures.items():
        try:
            restorer.check_candidate(mask.picture, picture)
            fitting[path] = picture
        except InputError as error:
            failed.append(error)
    scores = restorer.score(mask.picture, list(fitting.values()), options.draws, options.seed, mask.values)
    rows: list[dict[str, Any]] = []
    for path, score in zip(fitting, scores, strict=True):
        row = {"file": str(path), "log_prob": score.log_prob, "bits_per_dim": score.bits_per_dim}
        rows.append({**row, "standard_error": score.standard_error} if options.draws > 1 else row)
    rows.sort(key=lambda row: -row["log_prob"])
    return [{"rank": rank, **row} for rank, row in enumerate(rows, 1)]
