"""Holes are binary, up to a quarter of the image, and their generator's."""

from random import Random

import cv2
import numpy as np
import pytest

from cflowtool.tasks.holes import HOLES, any_kind, centre, mixed, strokes

SIZES = [(64, 64), (17, 40), (5, 3), (1, 1)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", HOLES)
def test_a_hole_is_binary_and_neither_nothing_nor_everything(name: str, size: tuple[int, int]) -> None:
    for seed in range(20):
        mask = HOLES[name](*size, Random(seed))
        assert mask.shape == size and mask.dtype == np.uint8 and {*np.unique(mask)} <= {0, 1}
        assert 1 <= mask.sum() <= max(1, mask.size / 4)


def test_the_centre_is_the_middle_quarter() -> None:
    mask = centre(64, 32, Random(0))
    assert mask[16:48, 8:24].all() and mask.sum() == 32 * 16


@pytest.mark.parametrize("draw", [strokes, mixed, any_kind])
def test_a_hole_is_its_generators_and_shares_vary(draw) -> None:
    masks = [draw(64, 64, Random(seed)) for seed in range(40)]
    assert all(np.array_equal(mask, draw(64, 64, Random(seed))) for seed, mask in enumerate(masks))
    shares = [mask.mean() for mask in masks]
    assert min(shares) < 0.1 and max(shares) > 0.2 and len({mask.tobytes() for mask in masks}) >= 30
    regions = np.mean(masks, 0).reshape(4, 16, 4, 16).mean((1, 3))
    assert regions.min() > 0.03 and regions.max() < 0.5


def widest(mask: np.ndarray) -> int:
    """The side of the largest square of odd side that is hidden whole."""
    return max(side for side in range(1, 41, 2) if cv2.erode(mask, np.ones((side, side)), borderValue=0).any())


def test_any_hole_is_the_centre_a_large_one_or_thin_ones() -> None:
    masks = [any_kind(64, 64, Random(seed)) for seed in range(90)]
    middle = centre(64, 64, Random(0))
    centres = sum(np.array_equal(mask, middle) for mask in masks)
    large, thin = sum(widest(mask) >= 14 for mask in masks) - centres, sum(widest(mask) <= 8 for mask in masks)
    assert 5 <= centres <= 30 and 5 <= large <= 40 and thin >= 15
