"""cflow segment-vessels."""

from __future__ import annotations

from typing import Annotated

import typer

from cflowtool.cli.options import Inputs, RestoreOptions
from cflowtool.cli.restore import Particular, restore

Fov = Annotated[
    str,
    typer.Option(
        "--fov",
        metavar="auto|FILE|none",
        help="Field of view: found in the photograph, white in a picture (or a folder of them), or all of it.",
    ),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        min=0,
        max=1,
        help="Share of the samples that must call a pixel vessel (the weight's own).",
        show_default=False,
    ),
]


def segment_vessels(inputs: Inputs, options: RestoreOptions, fov: Fov = "auto", threshold: Threshold = None) -> None:
    """Find the vessels in colour photographs of the retina.

    A bare command gives one mask, of where enough of the samples see a vessel; --mean adds the map of their share, a
    probability in 16 bits. With --samples there is a mask a sample, OUT/img/01.png and so on, the most likely first.
    """
    masks = {"auto": None, "none": "all"}.get(fov, fov)
    restore("segment-vessels", inputs, options, Particular(masks=masks, threshold=threshold))
