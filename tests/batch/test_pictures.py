"""Which pictures are written: the samples or their estimate, and the maps that were asked for."""

from pathlib import Path

import numpy as np
import pytest

from cflowtool import images
from cflowtool.batch import Estimate, Outputs, Plan
from cflowtool.batch.pictures import maps, results
from cflowtool.canvas import Restoration, Settings


def flat(value: int) -> images.Picture:
    """Return a picture of one value, with text of an earlier run and of its own."""
    return images.Picture(np.full((8, 9, 3), value, np.uint8), text={"cflow:seed": "1", "Title": "mine"})


FOUND = Restoration(
    [flat(1), flat(2)], [0, 1], [1.0, 2.0], [1.0, 2.0], None, False, flat(5), np.ones((8, 9), np.float32)
)
ABOUT = {
    "order_by": "likelihood", "seed": 0, "temperature": 1.0, "input": {"name": "a"}, "weights": {"name": "w"},
    "samples": [{"index": k, "rank": 2 - k, "bits_per_dim": 1.0} for k in (1, 0)],
}  # fmt: skip


def test_samples_in_their_order_or_the_estimate_alone() -> None:
    plan = Plan(Settings(2, 1.0), Outputs(Path("out")))
    assert [picture.pixels.max() for picture in results(FOUND, plan)] == [2, 1]
    [cut] = results(FOUND, Plan(Settings(2, 1.0), Outputs(Path("out")), estimate=Estimate()))
    assert cut.pixels.max() == 5
    assert all(picture.text == {"Title": "mine"} for picture in [*results(FOUND, plan), cut])


@pytest.mark.parametrize("asked", [(), ("mean",), ("std",), ("sheet",), ("mean", "std", "sheet")])
def test_the_maps_that_were_asked_for(asked: tuple[str, ...]) -> None:
    plan = Plan(Settings(2, 1.0), Outputs(Path("out"), many=True), maps=asked)
    found = maps(results(FOUND, plan), FOUND, ABOUT, plan)
    assert set(found) == set(asked)
    assert not any("cflow:seed" in picture.text for picture in found.values())
