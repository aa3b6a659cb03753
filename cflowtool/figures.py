"""Figures for pages: precision and recall of maps and of samples in one square."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from cflowtool.errors import escape
from cflowtool.images.picture import Array

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Points = tuple[Tensor, Tensor]
Colour = tuple[int, int, int]

PAPER, INK, GRID = (255, 255, 255), (40, 40, 44), (222, 222, 226)
# The colours of Okabe and Ito, which also those tell apart who see two of the three primaries.
PALETTE: tuple[Colour, ...] = (
    (0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (230, 159, 0), (0, 0, 0),
)  # fmt: skip
_FINER = 4
_NAME = 48


@dataclass(frozen=True)
class Frame:
    """A square of ``side`` pixels in which recall runs to the right and precision up, both from ``lowest`` to 1."""

    side: int
    lowest: float
    rows: int

    @property
    def font(self) -> int:
        """The height of the text."""
        return max(12, self.side // 28)

    @property
    def corner(self) -> tuple[int, int]:
        """The square's left and upper edge."""
        return 4 * self.font, self.font

    @property
    def size(self) -> tuple[int, int]:
        """The figure's width and height, with the legend's rows below the square."""
        left, top = self.corner
        return left + self.side + 2 * self.font, top + self.side + round((3.5 + 1.5 * self.rows) * self.font)

    def place(self, precision: Tensor, recall: Tensor) -> NDArray[np.float64]:
        """The positions (K, 2) from the figure's left and upper edge, in pixels, of points (K,)."""
        left, top = self.corner
        share = torch.stack((recall.double() - self.lowest, 1 - precision.double()), 1) / (1 - self.lowest)
        return np.asarray(share.cpu().numpy() * self.side + (left, top))

    @property
    def ticks(self) -> list[float]:
        """The multiples of 0.2, 0.1, 0.05 or less in [lowest, 1], six at most."""
        step = next(s for s in (0.2, 0.1, 0.05, 0.02, 0.01, 0.001) if (1 - self.lowest) / s >= 3 or s == 0.001)
        return [step * k for k in range(math.ceil(self.lowest / step - 1e-9), round(1 / step) + 1)]


def precision_recall_figure(
    curves: Mapping[str, Points], clouds: Mapping[str, Points], side: int = 480, lowest: float = 0.0
) -> Array:
    """Curves of precision against recall, and clouds of one dot a sample, as RGB (H, W, 3) uint8 (CNF, figure 6).

    Points are precision and recall (K,), those of a curve in the order they are joined in; a cloud has the colour of
    the curve of its name. Both axes run from ``lowest`` to 1, what is beyond is left out. Raises ValueError when there
    is nothing to draw, for points that are no pairs of finite numbers, and for ``lowest`` outside [0, 1).
    """
    names = list(dict.fromkeys([*curves, *clouds]))
    if not names or not 0 <= lowest < 1 or side < 1:
        raise ValueError(f"{len(names)} names on {side} pixels from {lowest} to 1 make no figure")
    for precision, recall in (*curves.values(), *clouds.values()):
        if precision.ndim != 1 or precision.shape != recall.shape or not (precision + recall).isfinite().all():
            raise ValueError(f"finite precision and recall (K,) wanted, not {tuple(precision.shape)}")
    frame = Frame(side, lowest, len(names))
    colours = {name: PALETTE[k % len(PALETTE)] for k, name in enumerate(names)}
    page = _drawn(frame, curves, clouds, colours)
    _write_axes(page, frame)
    for row, name in enumerate(names):
        _write_name(page, frame, row, name, colours[name], name in curves)
    return np.asarray(page)


def _drawn(
    frame: Frame, curves: Mapping[str, Points], clouds: Mapping[str, Points], colours: Mapping[str, Colour]
) -> Image.Image:
    """Return grid, curves and dots, drawn finer and averaged over areas."""
    fine = Image.new("RGB", tuple(_FINER * side for side in frame.size), PAPER)  # type: ignore[arg-type]
    left, top = frame.corner
    square = tuple(_FINER * edge for edge in (left, top, left + frame.side, top + frame.side))
    inside = fine.crop(square)  # type: ignore[arg-type]
    _draw_grid(inside, frame)
    for name, points in curves.items():
        _draw_curve(inside, frame, points, colours[name])
    fine.paste(inside, square[:2])  # type: ignore[arg-type]
    ImageDraw.Draw(fine).rectangle(square, outline=INK, width=_FINER)
    for name, points in clouds.items():
        _draw_dots(fine, frame, points, colours[name])
    return Image.fromarray(np.asarray(cv2.resize(np.asarray(fine), frame.size, interpolation=cv2.INTER_AREA)))


def _draw_grid(inside: Image.Image, frame: Frame) -> None:
    draw, end = ImageDraw.Draw(inside), _FINER * frame.side
    for tick in frame.ticks:
        at = (tick - frame.lowest) / (1 - frame.lowest) * end
        draw.line((at, 0, at, end), GRID, _FINER)
        draw.line((0, end - at, end, end - at), GRID, _FINER)


def _draw_curve(inside: Image.Image, frame: Frame, points: Points, colour: Colour) -> None:
    places = _FINER * (frame.place(*points) - frame.corner) - 0.5
    if len(places) < 2:
        return
    width = _FINER * max(2, frame.side // 240)
    ImageDraw.Draw(inside).line([tuple(place) for place in places.tolist()], colour, width, "curve")


def _draw_dots(fine: Image.Image, frame: Frame, points: Points, colour: Colour) -> None:
    seen = torch.stack(points).amin(0) >= frame.lowest
    radius = _FINER * max(2.5, frame.side / 160)
    for x, y in (_FINER * frame.place(*(values[seen] for values in points)) - 0.5).tolist():
        box = (x - radius, y - radius, x + radius, y + radius)
        ImageDraw.Draw(fine).ellipse(box, colour, PAPER, _FINER // 2)


def _font(size: int) -> Font:
    return ImageFont.load_default(size=size)


def _write_axes(page: Image.Image, frame: Frame) -> None:
    """Write the ticks' numbers and the names of the axes."""
    draw, font, size = ImageDraw.Draw(page), _font(frame.font), frame.font
    left, top = frame.corner
    bottom = top + frame.side
    for tick in frame.ticks:
        ((x, y),) = frame.place(torch.tensor([tick]), torch.tensor([tick])).tolist()
        draw.text((x, bottom + size), f"{tick:.4g}", INK, font, "mm")
        draw.text((left - size // 2, y), f"{tick:.4g}", INK, font, "rm")
    draw.text((left + frame.side / 2, bottom + 2.3 * size), "recall", INK, font, "mm")
    upright = Image.new("RGB", (6 * size, 2 * size), PAPER)
    ImageDraw.Draw(upright).text((3 * size, size), "precision", INK, font, "mm")
    page.paste(upright.rotate(90, expand=True).crop((size // 3, 0, 2 * size - size // 3, 6 * size)),
               (0, top + frame.side // 2 - 3 * size))  # fmt: skip


def _write_name(page: Image.Image, frame: Frame, row: int, name: str, colour: Colour, line: bool) -> None:
    """Write one row of the legend: a line for a curve, a dot for a cloud alone, and the name."""
    draw, size = ImageDraw.Draw(page), frame.font
    left, top = frame.corner
    y = top + frame.side + round((4 + 1.5 * row) * size)
    if line:
        draw.line((left, y, left + 2 * size, y), colour, max(2, frame.side // 240))
    else:
        draw.ellipse((left + size - 3, y - 3, left + size + 3, y + 3), colour)
    text = escape(name, _NAME).encode("ascii", "backslashreplace").decode("ascii")
    draw.text((left + 3 * size, y), text, INK, _font(size), "lm")
