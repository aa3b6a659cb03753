"""The options that say what is too large to be read or made."""

from __future__ import annotations

from typing import Annotated

import typer

PANEL, MOST = "Limits", 1_000_000

Megapixels = Annotated[
    float,
    typer.Option("--max-megapixels", min=0, max=MOST, help="Refuse inputs and results of more.", rich_help_panel=PANEL),
]
Side = Annotated[
    int, typer.Option("--max-side", min=1, help="Refuse any with a side of more pixels.", rich_help_panel=PANEL)
]
Mebibytes = Annotated[
    float,
    typer.Option("--max-mebibytes", min=0, max=MOST, help="Refuse input files of more MiB.", rich_help_panel=PANEL),
]
