"""Evaluation: the field's protocol and figures that mean what they are called."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cflowtool import images, weights
from cflowtool.dataset import as_truth, load_eight_bit
from cflowtool.errors import InputError, UsageError
from cflowtool.evaluate import Protocol, evaluate
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
