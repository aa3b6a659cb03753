"""Pictures about pictures: how far the samples are spread, and many pictures on one sheet."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cflowtool.errors import escape
from cflowtool.images.picture import Array, Picture

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Size = tuple[int, int]

BACKGROUND, TEXT, DIM = (30, 30, 32), (236, 236, 236), (160, 160, 164)
# What shows through a transparent picture: neither a black nor a white drawing vanishes on it.
BACKDROP = 128
SMALLEST_FONT = 12
UNIT = "levels"


def spread_map(std: NDArray[np.float32], samples: int | None = None) -> Picture:
    """The standard deviation `std` (H, W) of samples in [0, 1] as 8-bit colours, with a scale in levels below it.

    A pixel gets entry round(255 min(s / top, 1)) of OpenCV's inferno, whose luminance always rises: black is certain,
    pale yellow uncertain. Here s = 256 std counts grey levels, and top, the bar's right end, is the larger of 1 and
    the 99.5th percentile of s. The map has (H, W) pixels, times a whole factor where it is too narrow for the scale,
    and is centred where it stays too narrow. Raises ValueError unless `std` is (H, W), finite and not negative.
    """
    if std.ndim != 2 or std.size == 0 or not (np.isfinite(std).all() and (std >= 0).all()):
        raise ValueError(f"std must be (H, W), finite and not negative, not {std.dtype} {std.shape}")
    caption = "standard deviation of " + ("the samples" if samples is None else f"{samples} samples")
    top = max(256 * float(np.percentile(std, 99.5)), 1.0)
    colours = _coloured(std * np.float32(256 / top))
    colours = _enlarged(colours, _legible(std.shape[0], std.shape[1], _legend_width(caption, SMALLEST_FONT)))
    size = _map_font(*colours.shape[:2])
    width = max(colours.shape[1], _legend_width(caption, size))
    return Picture(np.concatenate([_centred(colours, colours.shape[0], width), _legend(width, size, top, caption)]))


def sheet(
    pictures: list[Picture], captions: list[str], columns: int | None = None, longest: int = 512, note: str = ""
) -> Picture:
    """The pictures on one 8-bit sheet, row by row, each with its caption below, and `note` under all of them.

    No picture's side exceeds `longest` pixels: large ones are reduced by area, small ones are enlarged by whole
    factors so that their pixels show, never beyond the largest. Without `columns` the sheet is as near to 16:10 as
    can be. Text is shown in ASCII; captions are cut at the width of a cell. Raises ValueError when there are no
    pictures, not as many captions, or `columns` or `longest` is below 1.
    """
    if not pictures or len(pictures) != len(captions):
        raise ValueError(f"{len(pictures)} pictures and {len(captions)} captions make no sheet")
    if longest < 1 or (columns is not None and columns < 1):
        raise ValueError(f"a sheet of {columns} columns of {longest} pixels is empty")
    shown = _fitted(pictures, longest)
    grid = _grid([s.shape[:2] for s in shown], columns)
    lines = _wrapped(_ascii(note), _font(grid.font), grid.width - 2 * grid.gap)
    page = Image.new("RGB", (grid.width, grid.height + len(lines) * grid.line), BACKGROUND)
    for index, (cell, caption) in enumerate(zip(shown, captions, strict=True)):
        _place(page, grid, index, cell, caption)
    for row, text in enumerate(lines):
        place = (grid.gap, grid.height - grid.gap // 2 + row * grid.line + grid.line // 2)
        ImageDraw.Draw(page).text(place, text, DIM, _font(grid.font), "lm")
    return Picture(np.asarray(page))


def _font(size: int) -> Font:
    """The face that comes with Pillow, `size` pixels high."""
    return ImageFont.load_default(size=size)


def _length(text: str, size: int) -> int:
    """The width of one line in pixels."""
    return math.ceil(_font(size).getlength(text))


def _ascii(text: str) -> str:
    """`text` with all that is not printable ASCII escaped."""
    return escape(text, 2000).encode("ascii", "backslashreplace").decode("ascii")


def _enlarged(pixels: Array, factor: int) -> Array:
    """Every pixel of (H, W, 3) as a square of `factor` pixels a side."""
    return pixels if factor == 1 else pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def _centred(pixels: Array, height: int, width: int) -> Array:
    """Pixels (h, w, 3) in the middle of a background (height, width, 3)."""
    h, w = pixels.shape[:2]
    if (h, w) == (height, width):
        return pixels
    canvas = np.full((height, width, 3), BACKGROUND, np.uint8)
    top, left = (height - h) // 2, (width - w) // 2
    canvas[top : top + h, left : left + w] = pixels
    return canvas


def _coloured(share: NDArray[np.float32]) -> Array:
    """Inferno, as RGB (H, W, 3), of shares (H, W) of the scale; beyond 1 as 1."""
    steps = np.arange(256, dtype=np.uint8).reshape(1, 256)
    palette = np.asarray(cv2.applyColorMap(steps, cv2.COLORMAP_INFERNO))[0, :, ::-1]
    return np.asarray(palette[np.rint(255 * np.minimum(share, 1)).astype(np.uint8)])


def _legible(height: int, width: int, needed: int) -> int:
    """The whole factor that makes a map `needed` pixels wide, or as near as 1024 pixels a side allow."""
    return max(1, min(-(-needed // width), 1024 // max(height, width)))


def _map_font(height: int, width: int) -> int:
    """The font's size for a map: it grows with the picture, and no narrow one outgrows its width."""
    return max(SMALLEST_FONT, round(min(math.sqrt(height * width) / 56, width / 36)))


def _margin(size: int) -> int:
    """The pixels beside the bar, for a font of this size."""
    return 2 * size // 3


def _legend_width(caption: str, size: int) -> int:
    """The pixels that the caption and the unit take on one line, with margins."""
    return _length(caption, size) + _length(UNIT, size) + 3 * _margin(size)


def _ticks(top: float) -> list[float]:
    """The multiples in [0, top] of the smallest of 1, 2, 5, 10, ... (or of these by ten) that gives at most six."""
    power = 10 ** math.floor(math.log10(top / 5))
    step = next(power * k for k in (1, 2, 5, 10) if power * k * 5 >= top * (1 - 1e-9))
    return [step * k for k in range(math.floor(top / step + 1e-9) + 1)]


def _legend(width: int, size: int, top: float, caption: str) -> Array:
    """The strip (about 5 fonts, width, 3) below a map: caption and unit, the bar from 0 to `top`, ticks and numbers."""
    strip = Image.new("RGB", (width, round(5.2 * size)), BACKGROUND)
    draw, font = ImageDraw.Draw(strip), _font(size)
    line, left, upper, lower = max(1, size // 12), _margin(size), 2 * size, 3 * size
    bar = width - 2 * left
    draw.text((left, round(1.2 * size)), caption, TEXT, font, "lm")
    draw.text((width - left, round(1.2 * size)), UNIT, DIM, font, "rm")
    draw.rectangle((left - line, upper - line, left + bar + line - 1, lower + line - 1), DIM)
    ramp = _coloured(np.linspace(0, 1, bar, dtype=np.float32)[None].repeat(lower - upper, axis=0))
    strip.paste(Image.fromarray(ramp), (left, upper))
    for tick in _ticks(top):
        x, text = left + round(tick / top * (bar - 1)), f"{tick:.6g}"
        draw.rectangle((x - line // 2, lower, x - line // 2 + line - 1, lower + size // 3), DIM)
        draw.text((min(x, width - _length(text, size) // 2 - 2), lower + size), text, TEXT, font, "mm")
    return np.asarray(strip)


def _fitted(pictures: list[Picture], longest: int) -> list[Array]:
    """Every picture as 8-bit RGB, in the size in which the sheet shows it."""
    largest = min(max(max(p.size) for p in pictures), longest)
    side = longest // largest * largest
    return [_shown(p, side) for p in pictures]


def _shown(picture: Picture, side: int) -> Array:
    """A picture as RGB (h, w, 3) whose longer side is at most `side`, on grey where it is transparent."""
    colours = _scaled(_rgb(picture.pixels), side)
    if picture.alpha is None:
        return colours
    cover = _scaled(_rgb(picture.alpha[..., None]), side).astype(np.float32) / 255
    return np.rint(colours * cover + BACKDROP * (1 - cover)).astype(np.uint8)


def _rgb(pixels: Array) -> Array:
    """8-bit (H, W, 3) of 8- or 16-bit (H, W, 1 or 3): the upper byte of 16."""
    eight = pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)
    return np.broadcast_to(eight, (*eight.shape[:2], 3))


def _scaled(pixels: Array, side: int) -> Array:
    """(H, W, 3) reduced by area to `side` pixels at its longer side, or enlarged by the largest whole factor."""
    height, width = pixels.shape[:2]
    if max(height, width) <= side:
        return _enlarged(pixels, side // max(height, width))
    ratio = side / max(height, width)
    size = max(1, round(width * ratio)), max(1, round(height * ratio))
    return np.asarray(cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_AREA))


@dataclass(frozen=True)
class _Grid:
    """The measures of a sheet in pixels: cells of (cell_height, cell_width), `gap` between them, text below them."""

    rows: int
    columns: int
    cell_height: int
    cell_width: int
    font: int

    @property
    def gap(self) -> int:
        return self.font

    @property
    def line(self) -> int:
        return round(1.5 * self.font)

    @property
    def pitch(self) -> Size:
        """The step from one cell to the next, down and across."""
        return self.cell_height + self.line + self.gap, self.cell_width + self.gap

    @property
    def height(self) -> int:
        return self.rows * self.pitch[0] + self.gap

    @property
    def width(self) -> int:
        return self.columns * self.pitch[1] + self.gap


def _grid(sizes: list[Size], columns: int | None) -> _Grid:
    """The grid for pictures of these sizes (height, width), with so many columns or else as near to 16:10 as can be."""
    height, width = max(s[0] for s in sizes), max(s[1] for s in sizes)
    font = max(SMALLEST_FONT, round(math.sqrt(height * width) / 26))
    count, cell = len(sizes), (height, max(width, 8 * font), font)
    tried = range(1, count + 1) if columns is None else [min(columns, count)]
    return min((_Grid(-(-count // k), k, *cell) for k in tried), key=lambda grid: _badness(grid, count))


def _badness(grid: _Grid, count: int) -> float:
    """How far a grid is from 16:10, as a log ratio, plus the share of places left empty."""
    empty = grid.rows * grid.columns - count
    return abs(math.log(grid.width / grid.height / 1.6)) + empty / count


def _place(page: Image.Image, grid: _Grid, index: int, cell: Array, caption: str) -> None:
    """Puts one picture and its caption into the cell with this index."""
    row, column = divmod(index, grid.columns)
    top, left = grid.gap + row * grid.pitch[0], grid.gap + column * grid.pitch[1]
    page.paste(Image.fromarray(_centred(cell, grid.cell_height, grid.cell_width)), (left, top))
    text, font = _cut(_ascii(caption), _font(grid.font), grid.cell_width), _font(grid.font)
    place = left + grid.cell_width // 2, top + grid.cell_height + round(0.6 * grid.line)
    ImageDraw.Draw(page).text(place, text, TEXT, font, "mm")


def _cut(text: str, font: Font, width: int) -> str:
    """`text`, its end replaced by dots where it is longer than `width` pixels."""
    if font.getlength(text) <= width:
        return text
    kept = bisect_right(range(len(text)), width, key=lambda k: math.ceil(font.getlength(text[:k] + "...")))
    return text[: kept - 1].rstrip() + "..." if kept else ""


def _wrapped(text: str, font: Font, width: int) -> list[str]:
    """The words of `text` in lines of at most `width` pixels."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(_cut(word, font, width))
    return lines
