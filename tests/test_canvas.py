"""The canvas."""

import math

import pytest

from cflowtool.canvas import Settings, decibels


def test_indices_begin_at_the_start() -> None:
    assert Settings(3, start=4).indices == [4, 5, 6]


def test_decibels_of_a_mean_square_and_their_limit() -> None:
    assert decibels(0.01) == pytest.approx(20)
    assert decibels(0.0) == pytest.approx(100)
    assert math.isfinite(decibels(1e-30))
