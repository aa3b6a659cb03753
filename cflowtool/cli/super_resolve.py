"""cflow super-resolve."""

from __future__ import annotations

from cflowtool.cli.options import Inputs, RestoreOptions, ScaleOption
from cflowtool.cli.restore import restore


def super_resolve(inputs: Inputs, options: RestoreOptions, scale: ScaleOption = None) -> None:
    """Restore images at two or four times their size.

    One sample of img.png becomes OUT/img.png. Several become OUT/img/01.png, 02.png and so on, the most likely first
    where the model has a likelihood, with what is known of each in OUT/img/samples.json.
    """
    restore("super-resolve", inputs, options, scale=int(scale) if scale else None)
