"""Every option that more than one command has, declared once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

DRAW, KEEP, MACHINE, SAY = "Samples", "Files", "Machine", "Messages"


class Format(StrEnum):
    """The formats results are written in."""

    PNG = "png"
    JPG = "jpg"
    WEBP = "webp"
    TIFF = "tiff"


class Device(StrEnum):
    """Where models run."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


class Precision(StrEnum):
    """What networks compute in; densities are always fp32."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"


class Order(StrEnum):
    """What the samples of an image are ordered by."""

    LIKELIHOOD = "likelihood"
    CONSISTENCY = "consistency"
    DRAWN = "drawn"


class Scale(StrEnum):
    """The factors of super-resolution."""

    TWO = "2"
    FOUR = "4"


def _tile(text: str) -> str:
    if text in ("auto", "off") or (text.isdecimal() and int(text) >= 50):
        return text
    raise typer.BadParameter("give auto, off, or the side of a tile in pixels of the input, at least 50")


def _temperature(value: float | None) -> float | None:
    if value is None or 0 <= value <= 10:
        return value
    raise typer.BadParameter("the temperature is a number from 0 to 10")


Inputs = Annotated[
    list[str],
    typer.Argument(metavar="INPUT", help="Images, folders, globs, or - for one image on stdin.", show_default=False),
]
TaskName = Annotated[str, typer.Argument(metavar="TASK", help="The task, such as super-resolve.", show_default=False)]
ScaleOption = Annotated[
    Scale | None,
    typer.Option("--scale", help="Factor of super-resolution; 2 unless the weight says so.", show_default=False),
]
Samples = Annotated[
    int | None,
    typer.Option(
        "--samples",
        min=1,
        max=10_000,
        help="Samples to draw of each input (the weight's own number).",
        rich_help_panel=DRAW,
        show_default=False,
    ),
]
Temp = Annotated[
    float | None,
    typer.Option(
        "--temp",
        callback=_temperature,
        rich_help_panel=DRAW,
        show_default=False,
        help="0 for the mode, 1 for the model as it is. The weight's own number, or 0.8 for several samples where "
        "that is 0.",
    ),
]
Keep = Annotated[
    int | None,
    typer.Option(
        "--keep",
        min=1,
        help="Write only the first K of the samples: the K most likely, or the first by what --order says.",
        metavar="K",
        rich_help_panel=DRAW,
        show_default=False,
    ),
]
OrderOption = Annotated[
    Order | None,
    typer.Option(
        "--order",
        rich_help_panel=DRAW,
        show_default=False,
        help="The samples' order: the most likely first; by consistency, the nearest to the input when degraded again "
        "first; or as drawn. By likelihood where the model has one, else as drawn.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="The same seed gives the same samples.", rich_help_panel=DRAW)]
Start = Annotated[
    int,
    typer.Option(
        "--start",
        min=0,
        rich_help_panel=DRAW,
        help="Index of the first sample: --samples 1 --start 2 is the third of --samples 10.",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="A weight by name or file (the task's own; see cflow models list).",
        metavar="NAME|FILE",
        rich_help_panel=MACHINE,
        show_default=False,
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.", metavar="DIR", rich_help_panel=KEEP)]
OutputFormat = Annotated[Format, typer.Option("--format", help="Format of the results.", rich_help_panel=KEEP)]
DeviceOption = Annotated[Device, typer.Option("--device", help="Where to compute.", rich_help_panel=MACHINE)]
PrecisionOption = Annotated[
    Precision, typer.Option("--precision", help="bf16 is faster and less exact; auto is fp32.", rich_help_panel=MACHINE)
]
Tile = Annotated[
    str,
    typer.Option(
        "--tile",
        callback=_tile,
        metavar="auto|PX|off",
        rich_help_panel=MACHINE,
        help="Side in pixels of the tiles that images too large for memory are cut into; at least 50.",
    ),
]
Deterministic = Annotated[
    bool,
    typer.Option("--deterministic", rich_help_panel=MACHINE, help="The same bytes for any number of threads; slower."),
]
Recursive = Annotated[
    bool, typer.Option("--recursive", "-r", help="Enter sub-folders; their tree is kept.", rich_help_panel=KEEP)
]
SkipExisting = Annotated[
    bool,
    typer.Option(
        "--skip-existing", rich_help_panel=KEEP, help="Pass over inputs finished before with the same settings."
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing results.", rich_help_panel=KEEP)]
Mean = Annotated[bool, typer.Option("--mean", help="Write the mean of the samples, too.", rich_help_panel=KEEP)]
Std = Annotated[
    bool, typer.Option("--std", help="Write a map of the samples' spread, with its scale.", rich_help_panel=KEEP)
]
Sheet = Annotated[bool, typer.Option("--sheet", help="Write all samples on one sheet.", rich_help_panel=KEEP)]
ReportFile = Annotated[
    bool, typer.Option("--report", help="Write report.json: what became of each input.", rich_help_panel=KEEP)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.", rich_help_panel=SAY)]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print errors only.", rich_help_panel=SAY)]
Debug = Annotated[bool, typer.Option("--debug", help="Print the traceback of an error.", rich_help_panel=SAY)]


@dataclass(frozen=True)
class RestoreOptions:
    """The options of all commands that restore images."""

    samples: Samples = None
    temp: Temp = None
    keep: Keep = None
    order: OrderOption = None
    seed: Seed = 0
    start: Start = 0
    model: Model = None
    out: Out = Path("out")
    format: OutputFormat = Format.PNG
    device: DeviceOption = Device.AUTO
    precision: PrecisionOption = Precision.AUTO
    tile: Tile = "auto"
    deterministic: Deterministic = False
    recursive: Recursive = False
    skip_existing: SkipExisting = False
    overwrite: Overwrite = False
    mean: Mean = False
    std: Std = False
    sheet: Sheet = False
    report: ReportFile = False
    json: Json = False
    quiet: Quiet = False
    debug: Debug = False


def flat(command: Callable[..., None]) -> Callable[..., None]:
    """The same command for typer, each parameter that is a dataclass of options replaced by its fields."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
    plain = [
        p.replace(annotation=hints[p.name])
        for p in inspect.signature(command).parameters.values()
        if p.name not in groups
    ]
    options = [p for kind in groups.values() for p in _parameters(kind)]
    owner = {f.name: name for name, kind in groups.items() for f in fields(kind)}

    def flattened(**given: Any) -> None:
        grouped: dict[str, dict[str, Any]] = {name: {} for name in groups}
        direct = {name: value for name, value in given.items() if name not in owner}
        for name in given.keys() & owner.keys():
            grouped[owner[name]][name] = given[name]
        command(**direct, **{name: groups[name](**values) for name, values in grouped.items()})

    keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*plain, *options)]
    flattened.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]
    flattened.__annotations__ = {p.name: p.annotation for p in keyword}
    flattened.__doc__, flattened.__name__ = _reflowed(inspect.getdoc(command) or ""), command.__name__
    return flattened


def _reflowed(text: str) -> str:
    """Each paragraph on one line, since rich keeps the line breaks of the source."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _parameters(kind: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    return [inspect.Parameter(f.name, keyword, default=f.default, annotation=hints[f.name]) for f in fields(kind)]
