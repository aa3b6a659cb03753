"""Validation in training."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cflowtool import images, weights
from cflowtool.dataset import held_out
from cflowtool.flows.gaussian import Latent
from cflowtool.flows.pyramid import Context
from cflowtool.images import Picture
from cflowtool.models import CNF, Draws, Sampler, SizeRule
from cflowtool.models.cnf import CNFConfig
from cflowtool.tasks import TASKS, SuperResolve, Task
from cflowtool.validation import Validator, as_picture, drawn

Photo = Callable[..., Path]
CPU = torch.device("cpu")


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
    x, y, _ = checked.pairs[0]
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


class Noise(Sampler):
    """A sampler without a likelihood, whose samples are noise around 1/2 and whose encodings are counted."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.scale, self.channels, self.encoded = task.scale, task.y_channels, 0

    def encode(self, x: Tensor) -> Context:
        self.encoded += 1
        return (x,)

    def latent_shapes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        return [(self.channels, height * self.scale, width * self.scale)]

    def decode(self, eps: Latent, context: Context) -> Draws:
        return Draws(0.5 + 0.2 * eps[0], None)


def of(task: str, folder: Path, photo: Photo, size: SizeRule | None = None, side: int = 72) -> Validator:
    """Return a validator of a task over three held-out photographs, with every mask that a task may want."""
    held = [name for name in (f"{i}.png" for i in range(300)) if held_out(Path(name))][:3]
    for seed, name in enumerate(held):
        photo(folder / "images" / name, side, side + 5, seed)
        rows, columns = np.mgrid[0:side, 0 : side + 5]
        for mask in ("masks", "manual1", "fov"):
            inside = rows > columns if mask == "masks" else (rows + columns) % (9 if mask == "manual1" else 99) > 0
            images.write(folder / mask / name, Picture((255 * inside[..., None]).astype(np.uint8)))
    kind = TASKS[task]
    return Validator.load(kind(), [folder], size)


@pytest.fixture(autouse=True)
def at_its_own_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pictures are no fundus photographs: leave them at their size."""
    monkeypatch.setattr("cflowtool.tasks.segment_vessels.training_scale", lambda fov: 1.0)


WANTED = {
    "super-resolve": {"psnr", "ssim", "exploded_1.0", "coverage_90%"},
    "denoise": {"psnr", "ssim", "coverage_90%"},
    "colorize": {"psnr", "colourfulness", "coverage_90%"},
    "inpaint": {"psnr", "psnr_hole", "coverage_90%"},
    "decompress": {"psnr", "ssim", "exploded_1.0", "coverage_90%"},
    "segment": {"iou", "mean_iou"},
    "segment-vessels": {"max_f", "mean_max_f"},
}


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_its_figures_and_a_sheet(name: str, photo: Photo, tmp_path: Path) -> None:
    checked = of(name, tmp_path, photo, side=64)
    checked.pairs = checked.pairs[:1]
    if name == "segment-vessels":
        checked.task.baseline_name = "black-hat"  # the other needs a second to be imported
    figures, model = checked.figures(Noise(checked.task), CPU), Noise(checked.task)
    assert figures.keys() >= WANTED[name] and "bits_per_dim" not in figures
    assert all(isinstance(value, float) and np.isfinite(value) for value in figures.values())
    assert ("exploded_1.0" in figures) is checked.task.near_baseline
    columns = 6 if checked.task.scale == 1 and checked.task.x_channels > 1 else 5
    assert checked.sheet(model, CPU).size[1] >= columns * 64


@pytest.mark.parametrize("name", ["denoise", "colorize", "segment"])
def test_a_density_has_bits_per_dim_that_are_its_own(name: str, photo: Photo, tmp_path: Path) -> None:
    checked = of(name, tmp_path, photo)
    task = checked.task
    config = CNFConfig(1, task.x_channels, task.y_channels, 1, 1, 4, 4, 1, 0)
    model, (x, y, _) = CNF(config).eval(), checked.pairs[0]
    with torch.no_grad():
        nats = model.log_mass_given(y, model.encode(x))
        checked.pairs = checked.pairs[:1]
        assert checked.figures(model, CPU)["bits_per_dim"] == pytest.approx(-float(nats) / np.log(2) / y.numel())


@pytest.mark.parametrize(("name", "shape"), [("super-resolve", (32, 48)), ("segment", (16, 24)), ("inpaint", (16, 24))])
def test_a_model_of_a_fixed_size_is_validated_on_that(
    name: str, shape: tuple[int, int], photo: Photo, tmp_path: Path
) -> None:
    pairs = of(name, tmp_path, photo, SizeRule(fixed=(16, 24))).pairs
    assert len(pairs) == 3 and all(pair.x.shape[2:] == (16, 24) and pair.y.shape[2:] == shape for pair in pairs)


def test_photographs_smaller_than_128_are_validated_on_in_part(photo: Photo, tmp_path: Path) -> None:
    assert {pair.y.shape[2:] for pair in of("denoise", tmp_path, photo).pairs} == {(64, 64)}
    assert not of("denoise", tmp_path / "smaller", photo, side=60).pairs


def test_fundus_photographs_are_validated_on_whole_and_fit_the_model(photo: Photo, tmp_path: Path) -> None:
    pairs = of("segment-vessels", tmp_path, photo, SizeRule(multiple_of=16)).pairs
    assert {pair.x.shape[2:] for pair in pairs} == {(80, 80)}
    assert all(pair.within is not None and pair.within.shape == (80, 80) for pair in pairs)
    assert not any(pair.within[:4].any() or pair.within[-4:].any() for pair in pairs if pair.within is not None)


def test_whole_photographs_are_those_of_the_first_folder(photo: Photo, tmp_path: Path) -> None:
    first, second = of("segment-vessels", tmp_path / "b", photo), of("segment-vessels", tmp_path / "a", photo, side=80)
    both = Validator.load(first.task, [tmp_path / "b", tmp_path / "a"])
    sizes = [pair.x.shape[2] for pair in both.pairs]
    assert sizes == [72, 72, 72, 80] and len(second.pairs) == 3


def test_many_samples_of_a_large_image_are_those_of_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = Noise(SuperResolve(2)), torch.rand(1, 3, 6, 8)
    whole = model.sample(x, 20, 0.7, 0).y[0]
    monkeypatch.setattr("cflowtool.validation._PIXELS_AT_ONCE", 3 * 12 * 16)
    model.encoded = 0
    assert torch.equal(drawn(model, x, 0.7), whole) and model.encoded == 1


def test_the_mean_of_the_samples_is_measured_as_a_map_of_probabilities(photo: Photo, tmp_path: Path) -> None:
    checked = of("segment-vessels", tmp_path, photo)
    checked.pairs, model = checked.pairs[:1], Noise(checked.task)
    x, y, within = checked.pairs[0]
    mean = (drawn(model, x, 1.0) > 0.5).float().mean(0, keepdim=True)
    wanted = checked.task.metrics(mean, y, within)
    assert checked.figures(model, CPU)["mean_max_f"] == pytest.approx(wanted["max_f"])
