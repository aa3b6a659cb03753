"""cflow colorize: colours of any size, and the brightness of every pixel as it was."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from cflowtool import images
from cflowtool.tasks.colorize import levels, luma

Photo = Callable[..., Path]


def luma_of(path: Path) -> torch.Tensor:
    return luma(levels(images.to_tensor(images.read(path)))).round()


@pytest.mark.parametrize("size", [(16, 20), (1, 1), (61, 90), (3, 200)])
def test_pictures_of_any_size_get_colours_and_keep_their_luma(restore, photo: Photo, size: tuple[int, int]) -> None:
    photo(Path("img.png"), *size)
    assert restore("colorize", "img.png", "--samples", 3, "--temp", 1, "--mean", "--std").code == 0
    found = [Path(f"out/img/0{k}.png") for k in (1, 2, 3)]
    for path in found:
        assert images.read(path).size == size
        assert torch.equal(luma_of(path), luma_of(Path("img.png")))
    assert images.read(found[0]).pixels.tobytes() != images.read(found[1]).pixels.tobytes()


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_grey_picture_comes_out_in_colour_at_its_own_depth(restore, kind: type[np.generic]) -> None:
    ramp = np.linspace(0, np.iinfo(kind).max, 40 * 30).reshape(40, 30, 1).astype(kind)
    images.write(Path("grey.png"), images.Picture(ramp))
    assert restore("colorize", "grey.png", "--temp", 1).code == 0
    found = images.read(Path("out/grey.png")).pixels
    assert found.shape == (40, 30, 3) and found.dtype == kind
    weighted = found @ np.array([0.299, 0.587, 0.114])
    assert np.abs(weighted - ramp[..., 0]).max() <= 0.5001
    assert np.ptp(found.astype(int), axis=2).max() > 0


def test_consistency_orders_nothing_here(restore, photo: Photo) -> None:
    photo(Path("img.png"))
    result = restore("colorize", "img.png", "--samples", 2, "--order", "consistency")
    assert result.code == 2 and "--order" in result.err
