"""What the tests of the models share."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

Randomise = Callable[..., nn.Module]


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
