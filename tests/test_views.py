"""A brighter colour is a larger deviation, and a sheet shows every picture whole."""

import random

import numpy as np
import pytest
from numpy.typing import NDArray

from cflowtool import views
from cflowtool.images.picture import Array, Picture
from cflowtool.views import sheet, spread_map

RANDOM = random.Random(0)
SIZES = [(1, 1), (1, 500), (500, 1), (2, 300), *((RANDOM.randint(1, 500), RANDOM.randint(1, 500)) for _ in range(12))]


def noise(height: int, width: int, top: float = 0.1) -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(0, top, (height, width)).astype(np.float32)


def luminance(rgb: Array) -> Array:
    """What is left in a grey copy (Rec. 601), 0 to 255."""
    return rgb.astype(np.float64) @ np.array([0.299, 0.587, 0.114])


def photo(height: int, width: int, channels: int = 3, seed: int = 0) -> Picture:
    return Picture(np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8))


def holds(page: Array, piece: Array) -> bool:
    """Whether some place of the page (H, W, 3) shows exactly this piece (h, w, 3)."""
    h, w = piece.shape[:2]
    corners = np.argwhere((page[: len(page) - h + 1, : page.shape[1] - w + 1] == piece[0, 0]).all(axis=2))
    return any(np.array_equal(page[y : y + h, x : x + w], piece) for y, x in corners)


def test_the_colours_rise_strictly_in_grey_copies_and_in_physical_luminance() -> None:
    colours = views._coloured(np.linspace(0, 1, 256, dtype=np.float32)[None])[0]
    share = colours / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    assert np.diff(luminance(colours)).min() > 0 and np.diff(linear @ np.array([0.2126, 0.7152, 0.0722])).min() > 0


def test_luminance_rises_with_the_deviation() -> None:
    std = np.linspace(0, 0.2, 600 * 300, dtype=np.float32).reshape(300, 600)
    shown = luminance(spread_map(std, 16).pixels[:300]).ravel()
    assert (np.diff(shown) >= 0).all() and len(np.unique(shown)) == 256 and shown[0] < 2 and shown[-1] > 230


def test_the_bar_has_the_colours_of_the_map_in_their_order() -> None:
    strip = spread_map(noise(300, 600)).pixels[300:]
    margin = views._margin(views._map_font(300, 600))
    bar = luminance(strip[len(strip) // 2, margin:-margin])
    assert (np.diff(bar) >= 0).all() and bar[0] < 2 and bar[-1] > 230


def test_the_map_is_as_documented() -> None:
    std = noise(270, 400)
    top = 256 * np.percentile(std, 99.5)
    entries = np.rint(255 * np.minimum(256 * std.astype(np.float64) / top, 1))
    shown = luminance(spread_map(std).pixels[:270])
    order = np.argsort(entries, axis=None, kind="stable")
    assert (np.diff(shown.ravel()[order]) >= 0).mean() > 0.999
    assert (shown[std > top / 256 * 1.001] == shown.max()).all()


def test_certainty_is_black_and_a_hundredth_of_a_level_hardly_seen() -> None:
    for std in (np.zeros((300, 300), np.float32), np.full((300, 300), 1e-5 / 256, np.float32)):
        assert spread_map(std).pixels[:300].max() <= 4
    assert luminance(spread_map(np.full((300, 300), 0.01 / 256, np.float32)).pixels[:300]).max() < 10


def test_one_outlier_does_not_darken_the_rest() -> None:
    std = noise(300, 300)
    spoilt = std.copy()
    spoilt[0, 0] = 100
    difference = luminance(spread_map(std).pixels[:300]) - luminance(spread_map(spoilt).pixels[:300])
    assert np.abs(difference[1:]).max() < 5


@pytest.mark.parametrize("size", SIZES)
def test_a_map_of_any_size_is_whole_pixels_and_has_a_legend(size: tuple[int, int]) -> None:
    height, width = size
    needed = views._legend_width("standard deviation of 16 samples", views.SMALLEST_FONT)
    factor = views._legible(height, width, needed)
    page = spread_map(noise(height, width), 16).pixels
    left = (page.shape[1] - factor * width) // 2
    shown = page[: factor * height, left : left + factor * width]
    blocks = shown.reshape(height, factor, width, factor, 3)
    assert page.shape[1] == max(factor * width, needed) and len(page) >= factor * height + 5 * views.SMALLEST_FONT
    assert (blocks == blocks[:, :1, :, :1]).all()
    assert page.shape[1] == width or width < needed


def test_a_map_wide_enough_keeps_its_pixels_and_its_legend_grows_with_it() -> None:
    assert spread_map(noise(256, 256), 128).pixels.shape[1] == 256
    strips = [spread_map(np.zeros((side, side), np.float32)).size[0] - side for side in (300, 1000, 3000)]
    assert strips == sorted(strips) and strips[2] > 2.5 * strips[1] and strips[2] < 3000 / 8


@pytest.mark.parametrize("top", [1, 1.7, 4.99, 5, 8, 10, 33.2, 100, 128, 255, 256, 1e5])
def test_ticks_are_round_and_few(top: float) -> None:
    ticks = views._ticks(top)
    step = ticks[1] - ticks[0]
    assert ticks[0] == 0 and 3 <= len(ticks) <= 6 and top - step * (1 + 1e-6) < ticks[-1] <= top * (1 + 1e-6)
    assert f"{step:.0e}"[0] in "125" and np.allclose(np.diff(ticks), step)


@pytest.mark.parametrize("std", [np.zeros(4), np.zeros((0, 4)), np.full((4, 4), np.nan), np.full((4, 4), -1.0)])
def test_what_is_no_deviation_is_refused(std: NDArray[np.float32]) -> None:
    with pytest.raises(ValueError, match="std must be"):
        spread_map(std.astype(np.float32))


def test_a_sheet_shows_what_fits_pixel_for_pixel() -> None:
    pictures = [photo(50, 100, seed=1), photo(100, 80, seed=2), photo(25, 20, seed=3)]
    page = sheet(pictures, ["a", "b", "c"], longest=100).pixels
    assert holds(page, pictures[0].pixels) and holds(page, pictures[1].pixels)
    assert holds(page, pictures[2].pixels.repeat(4, axis=0).repeat(4, axis=1))


def test_large_pictures_are_reduced_by_area() -> None:
    small = photo(40, 64)
    large = Picture(small.pixels.repeat(5, axis=0).repeat(5, axis=1))
    assert holds(sheet([large], ["a"], longest=64).pixels, small.pixels)


def test_sixteen_bits_and_grey_look_like_their_8_bit_colour_versions() -> None:
    for height, width in [(60, 90), (300, 200)]:
        grey = photo(height, width, 1)
        deep = Picture(grey.pixels.astype(np.uint16) * 257)
        colour = Picture(grey.pixels.repeat(3, axis=2))
        pages = [sheet([p], ["a"], longest=128).pixels for p in (grey, deep, colour)]
        assert np.array_equal(pages[0], pages[1]) and np.array_equal(pages[0], pages[2])


def test_transparency_shows_grey_and_opacity_changes_nothing() -> None:
    plain = photo(40, 64)
    opaque, clear = (Picture(plain.pixels, np.full((40, 64), level, np.uint8)) for level in (255, 0))
    assert np.array_equal(sheet([opaque], [""]).pixels, sheet([plain], [""]).pixels)
    assert holds(sheet([clear], [""]).pixels, np.full((320, 512, 3), views.BACKDROP, np.uint8))


@pytest.mark.parametrize("size", SIZES)
def test_any_sizes_make_a_sheet(size: tuple[int, int]) -> None:
    page = sheet([photo(*size), photo(7, 9, 1)], ["", "β \x1b[31m\n" * 50], longest=120, note="word " * 30)
    assert page.bits == 8 and not page.grey and max(page.size) < 2000


@pytest.mark.parametrize(("columns", "shape"), [(1, (6, 1)), (2, (3, 2)), (4, (2, 4)), (6, (1, 6)), (99, (1, 6))])
def test_columns_are_obeyed(columns: int, shape: tuple[int, int]) -> None:
    grid = views._grid([(64, 96)] * 6, columns)
    page = sheet([photo(64, 96)] * 6, ["a"] * 6, columns, longest=96)
    assert (grid.rows, grid.columns) == shape and page.size == (grid.height, grid.width)


def test_without_columns_the_sheet_is_wide_but_not_too_wide() -> None:
    for count in range(4, 40):
        grid = views._grid([(512, 512)] * count, None)
        assert 0.8 < grid.width / grid.height < 2.6 and grid.rows * grid.columns - count <= count / 5


def test_captions_stay_in_their_cells() -> None:
    page = sheet([photo(64, 128), photo(64, 128)], ["W" * 500, ""], 2, longest=128).pixels
    grid = views._grid([(64, 128)] * 2, 2)
    between = page[:, grid.gap + grid.cell_width : grid.gap + grid.pitch[1]]
    below = page[grid.gap + 64 :, : grid.pitch[1]]
    assert (between == views.BACKGROUND).all() and (below != views.BACKGROUND).any()


def test_text_is_cut_where_it_must_be_and_no_sooner() -> None:
    font, text = views._font(14), "a caption of several words"
    for width in range(int(font.getlength(text)) + 3):
        cut = views._cut(text, font, width)
        assert font.getlength(cut) <= width and (cut == text or text.startswith(cut.removesuffix("...")))
    assert [views._cut(text, font, w) for w in (0, 500)] == ["", text] and views._cut(text, font, 120)[:9] == text[:9]


def test_a_note_adds_its_lines_below() -> None:
    pictures, captions = [photo(64, 64)] * 3, ["a", "b", "c"]
    bare, noted = sheet(pictures, captions, longest=64).pixels, sheet(pictures, captions, longest=64, note="x " * 99)
    assert np.array_equal(noted.pixels[: len(bare) - 20], bare[:-20]) and noted.size[0] > len(bare) + 20
    assert noted.size[1] == bare.shape[1]


def test_control_characters_and_other_alphabets_become_ascii() -> None:
    assert views._ascii("σ\x1b[0m\nend") == r"\u03c3\x1b[0m\nend"


def test_what_makes_no_sheet_is_refused() -> None:
    picture = photo(4, 4)
    for pictures, captions, columns, longest in [([], [], 1, 9), ([picture], [], 1, 9), ([picture], ["a", "b"], 1, 9),
                                                 ([picture], ["a"], 0, 9), ([picture], ["a"], 1, 0)]:  # fmt: skip
        with pytest.raises(ValueError, match="sheet"):
            sheet(pictures, captions, columns, longest)
