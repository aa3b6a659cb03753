"""The engine: tiles, and the bits that they are computed to."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from cflowtool.engine import Engine
from cflowtool.models import MODELS

TINY = {"trunk_channels": 8, "blocks": 1, "growth": 0}
SMALL = {
    "cnf": TINY | {"steps": 2, "width": 8},
    "factored": TINY,
    "caflow": {"condition_steps": 1, "target_steps": 1, "steps": 1, "width": 8, "conditional_width": 4, "scales": 2},
    "cglow": {"conditioning_channels": 4, "conditioning_width": 8, "coupling_channels": 4, "width": 8, "steps": 1,
              "levels": 2, "size": (8, 8), "shift": "bicubic"},
    "binary-cnf": {"encoder": "unet", "encoder_channels": 8, "steps": 2, "width": 8, "scale": 1},
    "factored-binary": {"encoder_channels": 8, "scale": 1},
    "tim": {"residual_channels": (8, 8), "dense_channels": (4, 4), "blocks": 1, "code_channels": 2, "mapping_width": 8,
            "mapping_layers": 2, "draws": (2, 2), "distance": "multiscale", "mapping_dim": 4},
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(MODELS))
@torch.no_grad()
def test_a_batch_has_the_bits_of_its_images_and_samples_alone(name: str, randomised: Callable[..., nn.Module]) -> None:
    torch.manual_seed(0)
    kind = MODELS[name]
    model = randomised(kind(kind.Config(**{"scale": 2} | SMALL[name])), 0.1).float()
    engine = Engine(model, "cpu")
    x = torch.rand(5, model.in_channels, 8, 8)
    [tile] = engine.tiles(8, 8)
    y, log_prob = engine.decode(tile, range(4), 0.7, 3, engine.encode(x, tile))
    for i in range(5):
        context = engine.encode(x[i : i + 1], tile)
        for k in range(4):
            alone, score = engine.decode(tile, [k], 0.7, 3, context)
            assert torch.equal(alone[0, 0], y[i, k])
            assert score is None or torch.equal(score[0, 0], log_prob[i, k])
