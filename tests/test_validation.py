"""Validation in training."""

from collections.abc import Callable
from pathlib import Path

import torch

from cflowtool import images, weights
from cflowtool.dataset import held_out
from cflowtool.tasks import SuperResolve
from cflowtool.validation import Validator, as_picture

Photo = Callable[..., Path]


def validator(photo: Photo, folder: Path) -> Validator:
    """Return a validator over one held-out and one trained-on photograph."""
    names = [f"{i}.png" for i in range(200)]
    kept, other = next(n for n in names if held_out(Path(n))), next(n for n in names if not held_out(Path(n)))
    photo(folder / kept, height=128, width=130)
    photo(folder / other, height=128, width=130)
    return Validator.load(SuperResolve(2), [folder])


def test_only_held_out_photographs_are_validated_on(photo: Photo, tmp_path: Path) -> None:
    assert len(validator(photo, tmp_path).pairs) == 1


def test_figures_agree_with_the_model_and_the_sheet_shows_five_pictures(
    photo: Photo, tmp_path: Path, tiny_weight: Path
) -> None:
    model, cpu = weights.load(tiny_weight).model, torch.device("cpu")
    checked = validator(photo, tmp_path)
    figures = checked.figures(model, cpu)
    x, y = checked.pairs[0]
    assert figures["psnr"] == checked.task.metrics(model.sample(x, 1, 0.0, 0).y[0], y)["psnr"]
    assert figures["worst_bits_per_dim"] == figures["bits_per_dim"]
    assert {"coverage_50%", "coverage_90%", "exploded_0.8", "exploded_1.0", "ssim"} <= figures.keys()
    assert checked.sheet(model, cpu).size[1] > 5 * 100


def test_a_folder_without_held_out_photographs_gives_no_figures(
    photo: Photo, tmp_path: Path, tiny_weight: Path
) -> None:
    name = next(f"{i}.png" for i in range(99) if not held_out(Path(f"{i}.png")))
    photo(tmp_path / name, height=128, width=128)
    empty = Validator.load(SuperResolve(2), [tmp_path])
    assert empty.figures(weights.load(tiny_weight).model, torch.device("cpu")) == {}


def test_a_picture_of_a_tensor_reads_back_as_it() -> None:
    y = (torch.randint(0, 256, (3, 5, 7)) + 0.5) / 256
    assert torch.equal(images.to_tensor(as_picture(y))[0], y)
