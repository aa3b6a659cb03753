"""Every option that more than one command has, declared once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cflowtool.cli.limits import Mebibytes, Megapixels, Side

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


def _shard(text: str | None) -> str | None:
    if text is None or (
        (given := re.fullmatch(r"([1-9]\d{0,5})/([1-9]\d{0,5})", text)) and int(given[1]) <= int(given[2])
    ):
        return text
    raise typer.BadParameter("give a part and the number of parts, such as 3/16")


Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT",
        default_factory=list,
        help="Images, folders, globs, or - for one image on stdin, whose result goes to stdout unless -o is given.",
        show_default=False,
    ),
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
        help="A weight by name or file, or org/name@revision on a hub (the task's own; see cflow models list).",
        metavar="NAME|FILE|ORG/NAME",
        rich_help_panel=MACHINE,
        show_default=False,
    ),
]
Offline = Annotated[
    bool,
    typer.Option(
        "--offline",
        rich_help_panel=MACHINE,
        help="Download nothing: of the weights on a hub, take those pulled before. So does HF_HUB_OFFLINE=1.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="Folder for the results; - writes the one result to stdout.",
        metavar="DIR",
        rich_help_panel=KEEP,
        show_default="out",
    ),
]
FilesFrom = Annotated[
    str | None,
    typer.Option(
        "--files-from",
        metavar="FILE|-",
        rich_help_panel=KEEP,
        show_default=False,
        help="Read more inputs from a file or from stdin, one a line, or ended by NUL as find -print0 does.",
    ),
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="K/N",
        callback=_shard,
        rich_help_panel=KEEP,
        show_default=False,
        help="Work on the K-th of N parts of the inputs, for job arrays: a hash of its path gives a file to a part.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        metavar="N",
        rich_help_panel=MACHINE,
        show_default=False,
        help="Spread the inputs over N processes of this machine, a model each.",
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="ADDRESS",
        rich_help_panel=MACHINE,
        show_default=False,
        help="Spread the inputs over the workers of a dask cluster, tcp://host:port, that see the same files.",
    ),
]
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
    bool,
    typer.Option(
        "--std", help="Write a map of the samples' spread; for the error to expect, at --temp 1.", rich_help_panel=KEEP
    ),
]
Sheet = Annotated[bool, typer.Option("--sheet", help="Write all samples on one sheet.", rich_help_panel=KEEP)]
ReportFile = Annotated[
    bool, typer.Option("--report", help="Write report.json: what became of each input.", rich_help_panel=KEEP)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.", rich_help_panel=SAY)]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print errors only.", rich_help_panel=SAY)]
Debug = Annotated[
    bool, typer.Option("--debug", help="Print the traceback of an error, and the peak of memory.", rich_help_panel=SAY)
]


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
    offline: Offline = False
    out: Out = None
    files_from: FilesFrom = None
    shard: ShardOption = None
    format: OutputFormat = Format.PNG
    device: DeviceOption = Device.AUTO
    precision: PrecisionOption = Precision.AUTO
    tile: Tile = "auto"
    deterministic: Deterministic = False
    max_megapixels: Megapixels = 60
    max_side: Side = 32768
    max_mebibytes: Mebibytes = 256
    workers: Workers = None
    cluster: Cluster = None
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
