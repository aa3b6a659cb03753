"""Dots and curves lie where precision and recall say."""

import numpy as np
import pytest
import torch
from torch import Tensor

from cflowtool.figures import INK, PALETTE, PAPER, Frame, Points, precision_recall_figure
from cflowtool.images.picture import Array

EMPTY: Points = (torch.zeros(0), torch.zeros(0))


def points(*pairs: tuple[float, float]) -> Points:
    precision, recall = torch.tensor(pairs, dtype=torch.float64).unbind(1)
    return precision, recall


def changed(curve: Points = EMPTY, cloud: Points = EMPTY, side: int = 300, lowest: float = 0.0) -> Array:
    """How much each pixel (H, W) differs from a figure with the same names and nothing drawn."""
    made = precision_recall_figure({"a": curve}, {"b": cloud}, side, lowest)
    bare = precision_recall_figure({"a": EMPTY}, {"b": EMPTY}, side, lowest)
    return np.abs(made.astype(int) - bare).sum(2)


def centre(weights: Array) -> tuple[float, float]:
    rows, columns = (np.arange(n) + 0.5 for n in weights.shape)
    return float((weights.sum(0) @ columns) / weights.sum()), float((weights.sum(1) @ rows) / weights.sum())


def place(precision: float, recall: float, side: int, lowest: float) -> tuple[float, float]:
    left, top = Frame(side, lowest, 2).corner
    scale = side / (1 - lowest)
    return left + (recall - lowest) * scale, top + (1 - precision) * scale


@pytest.mark.parametrize(("side", "lowest"), [(300, 0.0), (300, 0.5), (160, 0.0), (701, 0.35)])
@pytest.mark.parametrize("at", [(0.63, 0.87), (0.93, 0.51), (0.777, 0.777)])
def test_a_dot_lies_where_its_sample_does(at: tuple[float, float], side: int, lowest: float) -> None:
    assert centre(changed(cloud=points(at), side=side, lowest=lowest)) == pytest.approx(place(*at, side, lowest), abs=1)


def test_every_sample_has_its_dot() -> None:
    places = [(0.2 + 0.1 * k, 0.9 - 0.11 * k) for k in range(7)]
    found = changed(cloud=points(*places)) > 0
    alone = [changed(cloud=points(at)) > 0 for at in places]
    assert np.array_equal(found, np.any(alone, 0)) and all(np.any(one) for one in alone)


@pytest.mark.parametrize("level", [0.25, 0.71])
def test_a_curve_goes_through_its_points_and_between_them(level: float) -> None:
    flat, steep = changed(points((level, 0.1), (level, 0.9))), changed(points((0.1, level), (0.9, level)))
    (x, y), (left, top) = place(level, level, 300, 0), Frame(300, 0, 2).corner
    rows, columns = np.nonzero(flat)
    assert np.abs(rows + 0.5 - y).max() < 3 and {*range(left + 31, left + 269)} <= {*columns}
    rows, columns = np.nonzero(steep)
    assert np.abs(columns + 0.5 - x).max() < 3 and {*range(top + 31, top + 269)} <= {*rows}


def test_what_is_beyond_the_square_is_left_out() -> None:
    left, top = Frame(300, 0.5, 2).corner
    below = points((0.3, 0.2), (0.49, 0.9), (0.9, 0.1))
    assert not changed(cloud=below, lowest=0.5).any()
    rows, columns = np.nonzero(changed(points((1.0, 0.0), (0.0, 1.0)), lowest=0.4))
    assert rows.min() >= top and columns.min() >= left and rows.max() <= top + 300 and columns.max() <= left + 300


def test_a_cloud_has_the_colour_of_its_curve_and_every_name_its_own() -> None:
    line, dots = points((0.2, 0.1), (0.2, 0.9)), points((0.8, 0.3), (0.8, 0.6))
    made = precision_recall_figure({"model": line, "other": line}, {"model": dots, "alone": dots})
    width = made.shape[1]
    legend = made[Frame(480, 0, 3).corner[1] + 480 :]
    seen = [k for k, colour in enumerate(PALETTE) if (legend == colour).all(2).any()]
    assert seen == [0, 1, 2] and width == Frame(480, 0, 3).size[0]
    alone = precision_recall_figure({"model": line}, {"model": dots})
    assert not (alone == PALETTE[1]).all(2).any() and (alone[:200] == PALETTE[0]).all(2).any()


@pytest.mark.parametrize("lowest", [0.0, 0.35, 0.5, 0.8, 0.97, 0.999])
def test_ticks_are_few_and_end_at_one(lowest: float) -> None:
    ticks = Frame(300, lowest, 1).ticks
    assert 2 <= len(ticks) <= 6 and ticks[-1] == pytest.approx(1) and ticks[0] >= lowest - 1e-9


def test_any_names_and_numbers_of_points_make_a_figure() -> None:
    for count in (0, 1, 2, 500):
        values = torch.linspace(0, 1, count)
        made = precision_recall_figure({"σ\x1b[0m" * 99: (values, values)}, {"": (values, values)}, side=40)
        assert made.dtype == np.uint8 and made.ndim == 3 and made.shape[1] == Frame(40, 0, 2).size[0]
        assert (made == PAPER).all(2).any() and (made == INK).all(2).any()


def test_what_makes_no_figure_is_refused() -> None:
    good, nan = points((0.5, 0.5)), points((torch.nan, 0.5))
    uneven: tuple[Tensor, Tensor] = (torch.zeros(2), torch.zeros(3))
    for curves, lowest in [({}, 0), ({"a": good}, 1), ({"a": good}, -0.1), ({"a": nan}, 0), ({"a": uneven}, 0)]:
        with pytest.raises(ValueError, match=r"figure|finite"):
            precision_recall_figure(curves, {}, lowest=lowest)
