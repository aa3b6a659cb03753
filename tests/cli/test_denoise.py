"""cflow denoise: the noise's strength is known or estimated, and what depends on it is made again."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cflowtool import images
from cflowtool.cli.denoise import known

Photo = Callable[..., Path]


def pixels(path: str) -> np.ndarray:
    return images.read(Path(path)).pixels


def test_another_sigma_is_another_result_and_skipping_knows_it(restore, photo: Photo) -> None:
    photo(Path("img.png"))
    for sigma in (5, 50):
        assert restore("denoise", "img.png", "--sigma", sigma, "-o", f"out{sigma}").code == 0
    assert not np.array_equal(pixels("out5/img.png"), pixels("out50/img.png"))
    again = ("denoise", "img.png", "-o", "out5", "--skip-existing", "--json", "--sigma")
    assert restore(*again, 5).objects[0]["status"] == "skipped"
    assert restore(*again, 6).objects[0]["status"] == "failed"


def test_the_manifest_says_the_sigma_that_was_given(restore, photo: Photo) -> None:
    photo(Path("img.png"))
    assert restore("denoise", "img.png", "--sigma", 12.5, "--samples", 2).code == 0
    assert json.loads(Path("out/img/samples.json").read_text())["options"] == {"sigma": 12.5}


@pytest.mark.parametrize("wrong", ["-1", "loud", "201", "nan"])
def test_a_sigma_that_is_none_is_a_usage_error(restore, photo: Photo, wrong: str) -> None:
    photo(Path("img.png"))
    result = restore("denoise", "img.png", f"--sigma={wrong}")
    assert result.code == 2 and "sigma" in result.err


def test_auto_is_no_number() -> None:
    assert known("auto") is None and known("15") == 15


def test_grey_stays_grey(restore) -> None:
    images.write(Path("grey.png"), images.Picture(np.full((20, 24, 1), 90, np.uint8)))
    assert restore("denoise", "grey.png", "--samples", 2).code == 0
    assert pixels("out/grey/01.png").shape == (20, 24, 1)
