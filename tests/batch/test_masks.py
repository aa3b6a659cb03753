"""Masks of a run: where each input's comes from, and what tells two apart."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cflowtool import images
from cflowtool.batch import Job, Masks
from cflowtool.batch.masks import grey
from cflowtool.errors import InputError

PICTURE = images.Picture(np.zeros((4, 6, 3), np.uint8))


def job(name: str) -> Job:
    return Job(Path("in") / name, Path(name).with_suffix(""))


def write(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    images.write(path, images.Picture(np.full((4, 6, 1), value, np.uint8)))


def test_no_mask_and_all_of_the_picture() -> None:
    assert Masks().of(job("a.png"), PICTURE).values is None
    values = Masks("all").of(job("a.png"), PICTURE).values
    assert values is not None and torch.equal(values, torch.ones(1, 1, 4, 6))
    assert len({Masks(source).digest(job("a.png")) for source in (None, "all", "alpha")}) == 3


def test_one_file_serves_all_and_its_content_is_its_digest(tmp_path: Path) -> None:
    write(tmp_path / "one.png", 255)
    write(tmp_path / "two.png", 0)
    masks = Masks(str(tmp_path / "one.png"))
    assert masks.digest(job("a.png")) == masks.digest(job("b.png")) != Masks(str(tmp_path / "two.png")).digest(job("a"))
    values = masks.of(job("a.png"), PICTURE).values
    assert values is not None and values.min() == 1


def test_a_folder_has_one_of_the_same_name_whatever_its_format(tmp_path: Path) -> None:
    write(tmp_path / "a.png", 255)
    write(tmp_path / "deep" / "b.png", 0)
    masks = Masks(str(tmp_path))
    for name, value in (("a.jpg", 1), ("deep/b.tif", 0)):
        values = masks.of(job(name), PICTURE).values
        assert values is not None and values.unique().tolist() == [value]
    with pytest.raises(InputError, match="no mask"):
        masks.of(job("c.png"), PICTURE)


def test_what_is_transparent_is_the_mask_at_any_depth() -> None:
    for kind in (np.uint8, np.uint16):
        alpha = np.full((4, 6), np.iinfo(kind).max, kind)
        alpha[1, 2] = 0
        found = Masks("alpha").of(job("a.png"), images.Picture(np.zeros((4, 6, 3), kind), alpha))
        assert found.picture.alpha is None and found.values is not None
        assert torch.nonzero(found.values).tolist() == [[0, 0, 1, 2]]
    with pytest.raises(InputError, match="alpha"):
        Masks("alpha").of(job("a.png"), PICTURE)


def test_a_colour_mask_is_its_mean_and_black_where_it_is_transparent() -> None:
    pixels = np.array([[[255, 255, 255], [255, 0, 0]]], np.uint8)
    assert grey(images.Picture(pixels)).flatten().tolist() == pytest.approx([1, 1 / 3])
    clear = np.array([[0, 255]], np.uint8)
    assert grey(images.Picture(pixels, clear)).flatten().tolist() == pytest.approx([0, 1 / 3])
