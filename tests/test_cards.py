"""Every bundled weight reproduces the figures on its card on the image that comes with the tests."""

from pathlib import Path
from typing import Any

import pytest

from cflowtool.evaluate import Protocol, evaluate
from cflowtool.recipes import DEFAULT
from cflowtool.restorer import Restorer
from cflowtool.weights import load, registry, resolve

DATA = Path(__file__).parent / "data"
PHOTO, FUNDUS, SMALL = DATA / "photo", DATA / "fundus", DATA / "small"


TOLERANCE = {"psnr": 0.02, "psnr_hole": 0.02, "ssim": 1e-3, "iou": 5e-3, "max_f": 5e-3, "colourfulness": 0.1}

# Methods of packages that need not be installed.
OPTIONAL = {"bm3d", "biharmonic", "frangi"}


def protocol_of(said: dict[str, Any]) -> Protocol:
    """The protocol that stands beside the figures on a card."""
    own = {"samples", "temperature", "seed", "calibration_samples", "held_out"}
    drawn = said["samples"], said["temperature"], said["seed"], said["calibration_samples"]
    return Protocol(*drawn, settings={name: value for name, value in said.items() if name not in own})


@pytest.mark.parametrize("name", sorted(registry()))
def test_the_card_is_reproduced(name: str) -> None:
    restorer = Restorer(load(registry()[name]), device="cpu")
    said = restorer.card.results["bundled"]
    protocol = protocol_of(said["protocol"])
    photo = SMALL if restorer.model.size.fixed == (64, 64) else PHOTO
    found = evaluate(restorer, FUNDUS if restorer.task.masks else photo, protocol)
    assert found["results"].keys() >= said["results"].keys() - OPTIONAL
    for result, figures in said["results"].items():
        if result not in found["results"]:
            continue
        for metric, value in figures.items():
            error = TOLERANCE.get(metric, 0.02)
            assert found["results"][result][metric] == pytest.approx(value, abs=error), (result, metric)
    assert found["bits_per_dim"] == pytest.approx(said["bits_per_dim"], abs=1e-3)
    for level, share in said.get("coverage", {}).items():
        assert found["coverage"][level] == pytest.approx(share, abs=5e-3)


def test_the_bundled_weights_are_there() -> None:
    assert {"super-resolve-cnf-x2", "super-resolve-cnf-x4"} <= registry().keys()
    assert all(path.stat().st_size <= 12 * 2**20 for path in registry().values())
    assert sum(path.stat().st_size for path in registry().values()) <= 60 * 2**20


def test_without_a_name_a_task_takes_the_weight_for_pictures_of_any_kind() -> None:
    taken = [resolve(None, task).stem for task in DEFAULT] + [resolve(None, "super-resolve", scale=4).stem]
    assert taken == [*DEFAULT.values(), "super-resolve-cnf-x4"]
