"""cflow segment-vessels: masks of the photograph's own size, and the probability they are cut from."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cflowtool import images

Fundus = Callable[..., Path]


def test_a_bare_command_gives_one_mask(restore, fundus: Fundus) -> None:
    fundus(Path("eye.png"))
    assert restore("segment-vessels", "eye.png").code == 0
    found = images.read(Path("out/eye.png"))
    assert found.pixels.shape == (120, 120, 1) and found.pixels.dtype == np.uint8
    assert set(np.unique(found.pixels)) <= {0, 255}


def test_the_mean_is_a_probability_and_the_mask_its_cut(restore, fundus: Fundus) -> None:
    fundus(Path("eye.png"))
    assert restore("segment-vessels", "eye.png", "--mean", "--threshold", 0.75, "-o", "bare").code == 0
    words = ("segment-vessels", "eye.png", "--samples", 4, "--temp", 1, "--mean", "--std", "--sheet")
    assert restore(*words, "-o", "all").code == 0
    mean = images.read(Path("bare/eye/mean.png")).pixels
    assert mean.dtype == np.uint16
    masks = [images.read(Path(f"all/eye/0{k}.png")).pixels > 127 for k in (1, 2, 3, 4)]
    share = np.mean(masks, axis=0)
    assert 0 < share.mean() < 1 and np.abs(mean / 65535 - share).max() < 1e-4
    assert np.array_equal(images.read(Path("bare/eye/01.png")).pixels > 127, share > 0.7)


def test_nothing_is_found_outside_the_field_of_view(restore, fundus: Fundus) -> None:
    fundus(Path("eye.png"))
    field = np.zeros((120, 120, 1), np.uint8)
    field[40:80, 40:80] = 255
    images.write(Path("fov.png"), images.Picture(field))
    assert restore("segment-vessels", "eye.png", "--fov", "fov.png", "--threshold", 0).code == 0
    assert restore("segment-vessels", "eye.png", "--fov", "fov.png", "--mean", "-o", "m").code == 0
    mean = images.read(Path("m/eye/mean.png")).pixels
    assert not mean[field == 0].any() and mean[field > 0].any()


@pytest.mark.parametrize("side", [1, 7, 300])
def test_photographs_of_any_size_and_depth(restore, fundus: Fundus, side: int) -> None:
    fundus(Path("eye.png"), side, grey=True)
    assert restore("segment-vessels", "eye.png", "--fov", "none").code == 0
    assert images.read(Path("out/eye.png")).size == (side, side)
