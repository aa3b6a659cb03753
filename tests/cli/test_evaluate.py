"""cflow evaluate."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cflowtool.dataset import held_out

Photo = Callable[..., Path]


def test_figures_as_json_and_as_tables(cflow, photo: Callable[..., Path], tiny_weight: Path) -> None:
    Path("truth").mkdir()
    for name in "ab":
        photo(Path("truth", f"{name}.png"), 32, 40, seed=ord(name))
    command = ["evaluate", "super-resolve", "--data", "truth", "--model", tiny_weight, "--samples", 2]
    result = cflow(*command, "--limit", 1, "--json")
    [found] = result.objects
    assert (result.code, result.err, found["images"]) == (0, "", 1)
    assert {"temp0", "best", "mean", "bicubic"} <= found["results"].keys()
    assert found["results"]["bicubic"].keys() >= {"psnr", "ssim"}
    table = cflow(*command)
    assert (table.code, table.out) == (0, "")
    assert "2 images" in table.err and "bicubic" in table.err and "bits_per_dim" in table.err


def test_a_folder_without_images(cflow, tiny_weight: Path) -> None:
    result = cflow("evaluate", "super-resolve", "--data", "nowhere", "--model", tiny_weight)
    assert (result.code, len(result.err.splitlines())) == (2, 2)


BASELINES = {
    "denoise": ("non-local means", "psnr"),
    "inpaint": ("telea", "psnr_hole"),
    "colorize": ("grey", "colourfulness"),
    "segment-vessels": ("mean", "max_f"),
}


@pytest.mark.parametrize("task", BASELINES)
def test_every_task_is_measured_beside_what_people_use(cflow, photo: Photo, small_weights, task: str) -> None:
    data = Path(__file__).parent.parent / "data" / "fundus" if task == "segment-vessels" else Path("truth")
    Path("truth").mkdir()
    photo(Path("truth/a.png"), 24, 28)
    words = ("evaluate", task, "--data", data, "--samples", 3, "--model", small_weights[task], "--device", "cpu")
    [found] = cflow(*words, "--json").objects
    name, metric = BASELINES[task]
    assert {"temp0", "mean", "best", name} <= found["results"].keys()
    assert all(metric in figures for figures in found["results"].values()) and found["bits_per_dim"] > 0


def test_settings_belong_to_their_task_and_stand_in_the_protocol(cflow, photo: Photo, small_weights) -> None:
    Path("truth").mkdir()
    photo(Path("truth/a.png"), 24, 28)
    words = ("evaluate", "denoise", "--data", "truth", "--samples", 2, "--model", small_weights["denoise"], "--json")
    weak, strong = (cflow(*words, "--sigma", sigma).objects[0] for sigma in (5, 50))
    assert weak["protocol"]["sigma"] == 5 and strong["protocol"]["sigma"] == 50
    assert weak["results"]["non-local means"]["psnr"] > strong["results"]["non-local means"]["psnr"] + 5
    assert cflow(*words, "--holes", "centre").code == 2


def test_held_out_takes_what_training_leaves_out(cflow, photo: Photo, small_weights) -> None:
    Path("truth").mkdir()
    for seed in range(40):
        photo(Path(f"truth/{seed}.png"), 16, 16, seed)
    words = ("evaluate", "denoise", "--data", "truth", "--samples", 1, "--model", small_weights["denoise"], "--json")
    [found] = cflow(*words, "--held-out").objects
    named = {row["image"] for row in found["per_image"]}
    assert named == {path.name for path in Path("truth").iterdir() if held_out(path)} and 0 < len(named) < 40


def test_the_temperature_of_intervals_is_fitted_on_other_photographs(cflow, photo: Photo, small_weights) -> None:
    for name in ("truth/a.png", "others/b.png", "others/c.png"):
        photo(Path(name), 24, 28, seed=ord(name[-5]))
    words = ("evaluate", "denoise", "--data", "truth", "--sigma", 25, "--samples", 1, "--model")
    result = cflow(*words, small_weights["denoise"], "--calibrate", "others", "--json")
    [found] = result.objects
    assert found["calibrated"]["fitted_on"] == 2 and found["calibrated"]["coverage"].keys() == {"50%", "90%"}
    assert cflow(*words, small_weights["denoise"], "--calibrate", "nowhere").code == 2
