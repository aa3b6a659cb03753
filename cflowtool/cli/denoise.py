"""cflow denoise."""

from __future__ import annotations

from typing import Annotated

import typer

from cflowtool.cli.options import Inputs, RestoreOptions
from cflowtool.cli.restore import Particular, restore


def _sigma(text: str) -> str:
    if text == "auto":
        return text
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if 0 <= value <= 200:
        return text
    raise typer.BadParameter("give auto, or the noise's standard deviation, 0 to 200 of 255 levels")


Sigma = Annotated[
    str,
    typer.Option(
        "--sigma",
        callback=_sigma,
        metavar="auto|N",
        help="Standard deviation of the noise in levels of 255; auto estimates it image by image.",
    ),
]


def denoise(inputs: Inputs, options: RestoreOptions, sigma: Sigma = "auto") -> None:
    """Remove Gaussian noise, its strength known or estimated.

    A bare command gives the one restoration nearest to the truth in the mean; --samples shows what else may have been
    under the noise: OUT/img/01.png, 02.png and so on, the most likely first.
    """
    restore("denoise", inputs, options, Particular(set_up={"sigma": known(sigma)}))


def known(sigma: str) -> float | None:
    """The number that --sigma gives, None for auto."""
    return None if sigma == "auto" else float(sigma)
