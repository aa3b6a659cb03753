"""cflow rank."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cflowtool import images

Photo = Callable[..., Path]


@pytest.fixture
def candidates(upscale, photo: Photo) -> list[Path]:
    """The mode, and two samples ever further from it."""
    photo(Path("img.png"))
    for temperature in ("0", "0.5", "3"):
        upscale("img.png", "--temp", temperature, "-o", temperature)
    return [Path(temperature, "img.png") for temperature in ("3", "0", "0.5")]


def test_candidates_are_ordered_by_likelihood(cflow, candidates: list[Path], tiny_weight: Path) -> None:
    result = cflow("rank", "img.png", *candidates, "--task", "super-resolve", "--model", tiny_weight, "--json")
    [value] = result.objects
    rows = value["candidates"]
    assert (result.code, result.err) == (0, "")
    assert [row["file"] for row in rows] == ["0/img.png", "0.5/img.png", "3/img.png"]
    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert [row["log_prob"] for row in rows] == sorted((row["log_prob"] for row in rows), reverse=True)
    assert [row["bits_per_dim"] for row in rows] == sorted(row["bits_per_dim"] for row in rows)


def test_the_table_says_the_numbers(cflow, candidates: list[Path], tiny_weight: Path) -> None:
    result = cflow("rank", "img.png", *candidates, "--task", "super-resolve", "--model", tiny_weight)
    assert (result.code, result.out) == (0, "")
    assert "most likely first" in result.err and "0.5/img.png" in result.err


def test_draws_have_a_standard_error(cflow, candidates: list[Path], tiny_weight: Path) -> None:
    command = [
        "rank",
        "img.png",
        candidates[0],
        "--task",
        "super-resolve",
        "--model",
        tiny_weight,
        "--draws",
        3,
        "--json",
    ]
    first, second = (cflow(*command).objects for _ in range(2))
    assert first == second
    assert first[0]["candidates"][0]["standard_error"] > 0


def test_a_candidate_that_does_not_fit_is_listed(cflow, candidates: list[Path], tiny_weight: Path) -> None:
    command = ["rank", "img.png", "img.png", candidates[0], "--task", "super-resolve", "--model", tiny_weight, "--json"]
    result = cflow(*command)
    assert (result.code, len(result.objects[0]["candidates"])) == (1, 1)
    assert "pixels" in result.err


def test_help_does_not_promise_quality(cflow) -> None:
    text = " ".join(cflow("rank", "--help").out.split())
    assert "not a quality score" in text and "most likely" in text
    assert "best" not in text


def test_an_unknown_task(cflow, photo: Photo) -> None:
    photo(Path("img.png"))
    result = cflow("rank", "img.png", "img.png", "--task", "dream")
    assert (result.code, len(result.err.splitlines())) == (2, 2)


@pytest.mark.parametrize("task", ["denoise", "colorize", "inpaint", "segment-vessels"])
def test_candidates_of_every_task_are_ordered(restore, cflow, photo: Photo, fundus, small_weights, task: str) -> None:
    mask = []
    if task == "inpaint":
        hole = np.zeros((40, 48, 1), np.uint8)
        hole[10:20, 10:30] = 255
        images.write(Path("mask.png"), images.Picture(hole))
        mask = ["--mask", "mask.png"]
    fundus(Path("img.png")) if task == "segment-vessels" else photo(Path("img.png"), 40, 48)
    assert restore(task, "img.png", *mask, "--samples", 3, "--temp", 1).code == 0
    candidates = [Path(f"out/img/0{k}.png") for k in (1, 2, 3)]
    words = ("rank", "img.png", *candidates, "--task", task, *mask, "--model", small_weights[task], "--device", "cpu")
    [found] = cflow(*words, "--json").objects
    scores = [row["log_prob"] for row in found["candidates"]]
    assert len(scores) == 3 and scores == sorted(scores, reverse=True) and np.isfinite(scores).all()
    assert {Path(row["file"]) for row in found["candidates"]} == set(candidates)
