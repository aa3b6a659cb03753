"""What tests of several folders share: a weight small enough to run in milliseconds."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from cflowtool import images, recipes, weights

RECIPE = """
name = "tiny"
[task]
name = "super-resolve"
options = { scale = 2 }
[model]
name = "cnf"
[model.config]
scale = 2
levels = 2
steps = 1
width = 8
trunk_channels = 8
blocks = 1
growth = 0
shift = "bicubic"
[train]
steps = 4
batch = 2
crop = 16
warm_up = 1
precision = "fp32"
[defaults]
samples = 1
temperature = 0.0
"""


@pytest.fixture(scope="session")
def tiny_recipe() -> str:
    """The TOML text of a recipe that builds in milliseconds."""
    return RECIPE


@pytest.fixture(scope="session")
def tiny_weight(tmp_path_factory: pytest.TempPathFactory, tiny_recipe: str) -> Path:
    """An untrained CNF x2 whose parameters were moved away from their start, so that its samples differ."""
    recipe = recipes.parse(tiny_recipe)
    generator = torch.Generator().manual_seed(5)
    torch.manual_seed(5)
    model = recipes.build(recipe)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    weights.save(path, model, weights.WeightCard(recipe=recipe))
    return path


@pytest.fixture
def photo() -> Callable[..., Path]:
    """A function that writes a small smooth colour image with some grain."""

    def write(path: Path, height: int = 16, width: int = 20, seed: int = 0) -> Path:
        rows, columns = np.mgrid[0:height, 0:width]
        grain = np.random.default_rng(seed).integers(0, 12, (height, width, 3))
        smooth = np.stack([rows * 9, columns * 8, (rows + columns) * 5], axis=2) + 20
        images.write(path, images.Picture(np.clip(smooth + grain, 0, 255).astype(np.uint8)))
        return path

    return write
