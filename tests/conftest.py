"""What tests of several folders share: a weight small enough to run in milliseconds."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cflowtool import images, recipes, weights
from tests.local_hub import LocalHub, serving

Randomise = Callable[..., nn.Module]

# Two threads that wait for each other stall the suite on a loaded machine.
torch.set_num_threads(1)

TRAIN = """[train]
steps = 4
batch = 2
crop = 16
warm_up = 1
precision = "fp32"
[defaults]"""
RECIPE = (
    """
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
"""
    + TRAIN
    + """
samples = 1
temperature = 0.0
"""
)


def write_weight(path: Path, text: str, seed: int) -> None:
    """Write an untrained weight of a recipe, its parameters moved away from their start, so that its samples differ."""
    recipe = recipes.parse(text)
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = recipes.build(recipe)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    weights.save(path, model, weights.WeightCard(recipe=recipe))


@pytest.fixture(scope="session")
def tiny_recipe() -> str:
    """The TOML text of a recipe that builds in milliseconds."""
    return RECIPE


@pytest.fixture(scope="session")
def tiny_weight(tmp_path_factory: pytest.TempPathFactory, tiny_recipe: str) -> Path:
    """An untrained CNF x2 whose parameters were moved away from their start, so that its samples differ."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    write_weight(path, tiny_recipe, seed=5)
    return path


SMALL_RECIPE = (
    """
name = "small-{task}"
[task]
name = "{task}"
options = {{ {options} }}
[model]
name = "{model}"
config = {{ {config} }}
"""
    + TRAIN
    + """
{defaults}
"""
)
_CNF = "scale = 1, steps = 1, width = 8, trunk_channels = 8, blocks = 1, growth = 0, "
SMALL = {
    "denoise": ("cnf", "", _CNF + 'in_channels = 4, unshuffle = 2, shift = "mean", mean_weight = 1.0', ""),
    "inpaint": ("cnf", 'fill = "pyramid"', _CNF + 'in_channels = 4, hole = true, shift = "bicubic"', ""),
    "colorize": ("cnf", "side = 24", _CNF + "in_channels = 1, channels = 2", ""),
    "segment-vessels": (
        "binary-cnf",
        "even = true",
        'in_channels = 4, encoder = "unet", norm = "none", encoder_channels = 4, steps = 1, width = 8, '
        "dequantizer_steps = 1, dequantizer_width = 4, mean_weight = 1.0",
        'samples = 4\ntemperature = 1.0\nestimate = "mean"\nthreshold = 0.5',
    ),
}


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An untrained weight of every task but super-resolution, its parameters moved away from their start."""
    folder, found = tmp_path_factory.mktemp("small"), {}
    for task, (model, options, config, defaults) in SMALL.items():
        text = SMALL_RECIPE.format(task=task, model=model, options=options, config=config, defaults=defaults)
        found[task] = folder / f"{task}.safetensors"
        write_weight(found[task], text, seed=3)
    return found


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


@pytest.fixture(scope="session")
def randomised() -> Randomise:
    """randomised(module, spread) -> the module in float64 and in use, every parameter moved off its zero start, the
    less the more inputs it is one of."""

    @torch.no_grad()
    def one(module: nn.Module, spread: float = 0.3) -> nn.Module:
        generator = torch.Generator().manual_seed(0)
        for parameter in module.double().eval().parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(noise * spread / parameter[0].numel() ** 0.5)
        return module

    return one


@pytest.fixture
def hub(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """A hub on this machine, empty, and an empty cache for what comes from it."""
    from huggingface_hub import close_session, constants

    home = tmp_path_factory.mktemp("hf")
    with serving() as made:
        settings = {"ENDPOINT": made.endpoint, "HF_HOME": str(home), "HF_HUB_CACHE": str(home / "hub")}
        settings |= {"HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True, "HF_TOKEN_PATH": str(home / "token")}
        template = f"{made.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        for name, value in {**settings, "HUGGINGFACE_CO_URL_TEMPLATE": template}.items():
            monkeypatch.setattr(constants, name, value)
        yield made
        close_session()
