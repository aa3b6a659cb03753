"""What a Picture says of itself and what it refuses to hold."""

import numpy as np
import pytest

from cflowtool.images import Limits, Picture


def test_properties_follow_the_array() -> None:
    grey, colour = Picture(np.zeros((4, 6, 1), np.uint8)), Picture(np.zeros((4, 6, 3), np.uint16))
    assert (grey.size, grey.bits, grey.levels, grey.grey) == ((4, 6), 8, 256, True)
    assert (colour.size, colour.bits, colour.levels, colour.grey) == ((4, 6), 16, 65536, False)


def test_a_note_is_kept_once() -> None:
    picture = Picture(np.zeros((1, 1, 3), np.uint8))
    picture.note("a")
    picture.note("a")
    assert picture.notes == ["a"]


@pytest.mark.parametrize(
    "array", [np.zeros((4, 6)), np.zeros((4, 6, 3)), np.zeros((4, 6, 4), np.uint8), np.zeros((0, 6, 3), np.uint8)]
)
def test_other_arrays_are_refused(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match="pixels must be"):
        Picture(array)


@pytest.mark.parametrize("alpha", [np.zeros((6, 4), np.uint8), np.zeros((4, 6), np.uint16)])
def test_an_alpha_that_does_not_fit_is_refused(alpha: np.ndarray) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        Picture(np.zeros((4, 6, 3), np.uint8), alpha)


def test_the_default_limits_are_the_documented_ones() -> None:
    assert Limits() == Limits(60, 32768, 256)
