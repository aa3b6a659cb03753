"""What is made of an input: names, and a mean cut at a threshold."""

import numpy as np
import pytest

from cflowtool import images
from cflowtool.batch import Estimate, Outputs, Plan
from cflowtool.canvas import Settings


@pytest.mark.parametrize("threshold", [0.0, 0.25, 0.5, 1.0])
def test_a_cut_mean_is_where_the_mean_reaches_the_threshold(threshold: float, tmp_path) -> None:
    shares = np.arange(5) / 4
    mean = images.Picture((shares * 65535).round().astype(np.uint16).reshape(1, 5, 1))
    found = Estimate(threshold).of(mean).pixels
    assert found.dtype == np.uint8 and (found[0, :, 0] == np.where(shares >= threshold, 255, 0)).all()


def test_a_mean_without_a_threshold_is_the_picture() -> None:
    mean = images.Picture(np.full((2, 2, 3), 7, np.uint8))
    assert Estimate().of(mean) is mean


def test_an_estimate_is_one_picture_however_many_samples(tmp_path) -> None:
    plan = Plan(Settings(16, 1.0), Outputs(tmp_path, many=True), estimate=Estimate(0.5), maps=("mean",))
    assert plan.names() == ["01.png", "mean.png"] and "16" in Estimate(0.5).said(16)
    assert Plan(Settings(16, 1.0), Outputs(tmp_path), keep=3).kept == 3
