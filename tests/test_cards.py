"""Every bundled weight reproduces the figures on its card on the image that comes with the tests."""

from pathlib import Path

import pytest

from cflowtool.evaluate import evaluate
from cflowtool.restorer import Restorer
from cflowtool.weights import load, registry

PHOTO = Path(__file__).parent / "data" / "photo"


@pytest.mark.parametrize("name", sorted(registry()))
def test_the_card_is_reproduced(name: str) -> None:
    restorer = Restorer(load(registry()[name]), device="cpu")
    said = restorer.card.results["bundled"]
    found = evaluate(restorer, PHOTO)
    for result, figures in said["results"].items():
        assert found["results"][result]["psnr"] == pytest.approx(figures["psnr"], abs=0.02), result
        assert found["results"][result]["ssim"] == pytest.approx(figures["ssim"], abs=1e-3), result
    assert found["bits_per_dim"] == pytest.approx(said["bits_per_dim"], abs=1e-3)
    for level, share in said["coverage"].items():
        assert found["coverage"][level] == pytest.approx(share, abs=5e-3)


def test_the_bundled_weights_are_there() -> None:
    assert {"super-resolve-cnf-x2", "super-resolve-cnf-x4"} <= registry().keys()
