"""Every bundled weight on what people really have: tiny, odd, grey, dark, overexposed and badly compressed pictures."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cflowtool import images
from cflowtool.canvas import Settings
from cflowtool.images import Picture, to_tensor
from cflowtool.images.picture import Array
from cflowtool.metrics.calibration import exploded
from cflowtool.restorer import Restorer
from cflowtool.weights import load, registry

DATA = Path(__file__).parent / "data"
NAMES = sorted(name for name, path in registry().items() if not load(path).model.size.fixed)


def compressed(pixels: Array) -> Array:
    """What is left of a picture in a JPEG file of quality 10."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=10)
    return np.array(Image.open(file))


ODD: dict[str, Callable[[Array], Array]] = {
    "one pixel": lambda pixels: pixels[:1, :1],
    "3 x 5": lambda pixels: pixels[:3, :5],
    "a line": lambda pixels: pixels[:1],
    "odd sides": lambda pixels: pixels[:37, :41],
    "grey": lambda pixels: pixels[..., :1],
    "very dark": lambda pixels: pixels // 40,
    "black": lambda pixels: 0 * pixels,
    "white": lambda pixels: 0 * pixels + 255,
    "overexposed": lambda pixels: (3 * pixels.astype(int) + 60).clip(0, 255).astype(np.uint8),
    "one vivid colour": lambda pixels: (0 * pixels + [255, 0, 0]).astype(np.uint8),
    "JPEG of quality 10": compressed,
}


def hole(height: int, width: int) -> torch.Tensor:
    """A mask that leaves something to be known."""
    mask = torch.zeros(1, 1, height, width)
    mask[..., height // 4 : height // 4 + max(1, height // 2), width // 4 : width // 4 + max(1, width // 2)] = 1
    mask[..., -1] = 0
    return mask


@pytest.fixture(scope="module", params=NAMES)
def restorer(request: pytest.FixtureRequest) -> Restorer:
    return Restorer(load(registry()[request.param]), device="cpu")


@pytest.mark.parametrize("name", ODD)
def test_every_weight_makes_a_sound_picture_of_an_odd_one(restorer: Restorer, name: str) -> None:
    task, own = restorer.task, restorer.card.recipe.defaults
    source = images.read(next((DATA / ("fundus/images" if task.masks else "photo")).iterdir()))
    picture = Picture(np.ascontiguousarray(ODD[name](source.pixels[:48, :56])))
    if task.name == "inpaint" and picture.size == (1, 1):
        pytest.skip("a hole in one pixel is the whole of it")
    mask = hole(*picture.size) if task.name == "inpaint" else None
    found = restorer.restore(picture, Settings(2, own.temperature, std=True), mask)
    assert found.pictures[0].size == (picture.size[0] * task.scale, picture.size[1] * task.scale)
    assert found.log_prob is not None and np.isfinite(found.log_prob).all()
    assert found.std is not None and np.isfinite(found.std).all()
    if task.levels > 2 and task.name != "colorize":
        base = task.baseline(task.condition(to_tensor(picture), mask))[0]
        assert exploded(torch.cat([to_tensor(each) for each in found.pictures]), base) < 1e-3
