"""cflow inpaint."""

from __future__ import annotations

from typing import Annotated

import typer

from cflowtool.cli.options import Inputs, RestoreOptions
from cflowtool.cli.restore import Particular, restore

MaskOption = Annotated[
    str,
    typer.Option(
        "--mask",
        metavar="FILE|FOLDER|alpha",
        help="What is to be filled: white in a picture of the same size, one for all inputs or, in a folder, one of "
        "the same name for each; alpha fills what is transparent.",
        show_default=False,
    ),
]


def inpaint(inputs: Inputs, mask: MaskOption, options: RestoreOptions) -> None:
    """Fill what is missing from images: scratches, writing, holes.

    White parts of the mask are filled, black ones stay as they are, bit for bit. One sample of img.png becomes
    OUT/img.png, several OUT/img/01.png, 02.png and so on, the most likely first.
    """
    restore("inpaint", inputs, options, Particular(masks=mask))
