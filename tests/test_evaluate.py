"""Evaluation: the field's protocol and figures that mean what they are called."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cflowtool import images, weights
from cflowtool.canvas import Settings
from cflowtool.dataset import as_truth, held_out, load_eight_bit
from cflowtool.errors import InputError, UsageError
from cflowtool.evaluate import Calibrated, Protocol, calibrate, evaluate
from cflowtool.restorer import Restorer
from cflowtool.validation import as_picture

Photo = Callable[..., Path]


@pytest.fixture
def folder(photo: Photo, tmp_path: Path) -> Path:
    data = tmp_path / "truth"
    data.mkdir()
    for seed in range(3):
        photo(data / f"{seed}.png", height=33 + seed, width=40, seed=seed)
    return data


@pytest.fixture
def restorer(tiny_weight: Path) -> Restorer:
    return Restorer(weights.load(tiny_weight), device="cpu")


def test_the_summary_is_the_mean_over_the_images(restorer: Restorer, folder: Path) -> None:
    found = evaluate(restorer, folder, Protocol(3, calibration=20))
    rows = found["per_image"]
    assert found["images"] == len(rows) == 3
    for name, figures in found["results"].items():
        assert figures["psnr"] == pytest.approx(sum(row["results"][name]["psnr"] for row in rows) / 3)
    assert set(found["results"]) == {"temp0", "best", "mean", "bicubic"}
    assert 0 <= found["coverage"]["50%"] <= found["coverage"]["90%"] <= 1


def test_degraded_files_given_by_hand_give_the_same_figures(restorer: Restorer, folder: Path, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    for path in folder.glob("*.png"):
        x, _ = restorer.task.pair(as_truth(load_eight_bit(path)[None]))
        images.write(given / path.name, as_picture(x[0]))
    made = evaluate(restorer, folder, Protocol(2, calibration=0))
    assert evaluate(restorer, folder, Protocol(2, calibration=0), given) == made


def test_a_truth_without_its_degraded_file_is_an_input_error(restorer: Restorer, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        evaluate(restorer, folder, Protocol(1), tmp_path / "nowhere")


def test_an_empty_folder_and_no_samples_are_usage_errors(restorer: Restorer, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError):
        evaluate(restorer, tmp_path / "empty")
    with pytest.raises(UsageError):
        evaluate(restorer, folder, Protocol(0))


def test_limit_takes_the_first_images_and_the_observer_sees_each(restorer: Restorer, folder: Path) -> None:
    seen: list[str] = []
    protocol = Protocol(1, calibration=0)
    found = evaluate(restorer, folder, protocol, limit=2, observer=lambda done, of, name: seen.append(name))
    assert found["images"] == 2 and seen == ["0.png", "1.png"]


def test_a_grey_truth_is_measured_as_the_grey_picture_that_a_user_has(
    small_weights: dict[str, Path], tmp_path: Path
) -> None:
    restorer = Restorer(weights.load(small_weights["denoise"]), device="cpu")
    levels = np.random.default_rng(0).integers(0, 256, (24, 28, 1)).astype(np.uint8)
    images.write(tmp_path / "a.png", images.Picture(levels))
    found = evaluate(restorer, tmp_path, Protocol(1, calibration=0, settings={"sigma": 20.0}))
    truth = as_truth(load_eight_bit(tmp_path / "a.png")[None])
    noisy = as_picture(restorer.task.pair(truth)[0][0, :1])
    result = restorer.restore(noisy, Settings(1, 0.0)).pictures[0]
    assert result.grey and noisy.grey
    error = (result.pixels.astype(float) - levels).var() + (result.pixels.astype(float) - levels).mean() ** 2
    assert found["results"]["temp0"]["psnr"] == pytest.approx(10 * np.log10(255**2 / error))


def unseen(restorer: Restorer, folder: Path, crop: int) -> Restorer:
    """The restorer of a weight whose card says that it was trained on crops of that folder."""
    recipe = restorer.card.recipe
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"crop": crop})})
    update = {"recipe": recipe, "data": [weights.DataSet(name=folder.name, images=1)]}
    loaded = weights.load(restorer.path)
    return Restorer(replace(loaded, card=loaded.card.model_copy(update=update)), device="cpu")


def test_intervals_hold_what_they_say_at_the_calibrated_temperature(restorer: Restorer, folder: Path) -> None:
    protocol = calibrate(restorer, [folder], Protocol(1, calibration=20))
    found = evaluate(restorer, folder, protocol)
    assert protocol.calibrated and 0.51 < protocol.calibrated.temperature < 1.96
    assert found["calibrated"]["fitted_on"] == found["images"] == 3
    assert sum(found["calibrated"]["coverage"].values()) == pytest.approx(0.5 + 0.9, abs=0.05)


def test_at_temperature_one_the_calibrated_intervals_are_the_others(restorer: Restorer, folder: Path) -> None:
    found = evaluate(restorer, folder, Protocol(1, calibration=20, calibrated=Calibrated(1.0, 3)))
    assert found["calibrated"]["coverage"] == found["coverage"]


@pytest.mark.parametrize(("crop", "fitted_on"), [(8, 0), (34, 1), (36, 3)])
def test_no_photograph_that_was_trained_on_is_fitted_on(
    restorer: Restorer, folder: Path, crop: int, fitted_on: int
) -> None:
    protocol, knowing = Protocol(1, calibration=20), unseen(restorer, folder, crop)
    if not fitted_on:
        with pytest.raises(UsageError):
            calibrate(knowing, [folder], protocol)
        return
    found = calibrate(knowing, [folder], protocol).calibrated
    assert found and found.fitted_on == fitted_on


def test_what_is_held_out_is_never_fitted_on(restorer: Restorer, photo: Photo, tmp_path: Path) -> None:
    names = [name for name in (f"{k}.png" for k in range(40)) if held_out(Path(name))]
    for name in names:
        photo(tmp_path / name, 24, 24)
    with pytest.raises(UsageError):
        calibrate(restorer, [tmp_path], Protocol(1))
    assert names


def test_masks_have_no_intervals(small_weights: dict[str, Path], folder: Path) -> None:
    with pytest.raises(UsageError):
        calibrate(Restorer(weights.load(small_weights["segment-vessels"]), device="cpu"), [folder], Protocol(1))
