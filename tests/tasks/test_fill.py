"""The guess inside a hole is made of what is known, near and far, and leaves it as it is."""

from random import Random

import pytest
import torch
from torch import Tensor

from cflowtool.tasks.fill import smooth_fill
from cflowtool.tasks.holes import any_kind

SIZES = [(32, 48), (17, 40), (5, 3), (1, 7)]


def images(height: int, width: int, batch: int = 2) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def holes(height: int, width: int, batch: int = 2) -> Tensor:
    return torch.stack([torch.from_numpy(any_kind(height, width, Random(k))) for k in range(batch)])[:, None].bool()


@pytest.mark.parametrize("size", SIZES)
def test_known_pixels_stay_and_unknown_ones_do_not_matter(size: tuple[int, int]) -> None:
    image, hole = images(*size), holes(*size)
    filled = smooth_fill(image, hole)
    assert torch.equal(filled.masked_select(~hole), image.masked_select(~hole))
    assert torch.equal(filled, smooth_fill(image.masked_fill(hole, torch.nan), hole))


@pytest.mark.parametrize("size", SIZES)
def test_what_is_filled_in_lies_between_the_known_colours(size: tuple[int, int]) -> None:
    image, hole = images(*size), holes(*size)
    filled = smooth_fill(image, hole)
    for one, known, where in zip(filled, image, hole, strict=True):
        colours = known[:, ~where[0]]
        low, high = colours.amin(1)[:, None, None], colours.amax(1)[:, None, None]
        assert (one >= low - 1e-9).all() and (one <= high + 1e-9).all()


@pytest.mark.parametrize("size", SIZES)
def test_one_colour_stays_one_colour(size: tuple[int, int]) -> None:
    image = torch.tensor([0.2, 0.5, 0.9]).double()[:, None, None].expand(2, 3, *size)
    assert torch.allclose(smooth_fill(image, holes(*size)), image, rtol=0, atol=1e-12)


def test_a_smooth_image_is_continued_from_all_sides() -> None:
    rows, columns = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 64), indexing="ij")
    image = torch.stack((rows, columns, rows / 2 + columns / 2))[None].double()
    hole = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    hole[..., 16:48, 16:48] = True
    error = (smooth_fill(image, hole) - image).abs()
    nothing = (image.masked_fill(hole, 0.5) - image).abs()
    assert error.max() < nothing.max() / 2
    assert error[..., 16, 16:48].mean() < error[..., 16:48, 16:48].mean() + 0.02 < nothing[..., 16, 16:48].mean()


def test_images_of_a_batch_are_filled_each_as_if_alone() -> None:
    image, hole = images(32, 48, 4), holes(32, 48, 4)
    alone = torch.cat([smooth_fill(image[k : k + 1], hole[k : k + 1]) for k in range(4)])
    assert torch.allclose(smooth_fill(image, hole), alone, rtol=0, atol=1e-12)


def test_colours_reach_a_hole_from_any_distance_and_nothing_known_is_grey() -> None:
    image, hole = images(40, 56, 1), torch.ones(1, 1, 40, 56, dtype=torch.bool)
    hole[..., 0, 0] = False
    assert torch.allclose(smooth_fill(image, hole), image[..., :1, :1].expand_as(image), rtol=0, atol=1e-9)
    assert (smooth_fill(image, torch.ones_like(hole)) == 0.5).all()


def test_a_large_image_is_filled_in_rows_as_if_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    image, hole = images(133, 97), holes(133, 97)
    whole = smooth_fill(image, hole)
    for rows in (1, 2, 7, 64):
        monkeypatch.setattr("cflowtool.tasks.fill._ROWS", rows)
        assert torch.allclose(smooth_fill(image, hole), whole, rtol=0, atol=1e-12)
