"""cflow colorize."""

from __future__ import annotations

from cflowtool.cli.options import Inputs, RestoreOptions
from cflowtool.cli.restore import restore


def colorize(inputs: Inputs, options: RestoreOptions) -> None:
    """Give grey images colours.

    Only the colours are made up: the brightness of every pixel stays what it is. A colour image counts as grey, too.
    One sample of img.png becomes OUT/img.png, several OUT/img/01.png, 02.png and so on, the most likely first, with
    what is known of each in OUT/img/samples.json.
    """
    restore("colorize", inputs, options)
