"""What a training step takes from its number alone: its learning rate and its randomness."""

from __future__ import annotations

import math

import torch

from .recipes import TrainSpec


def learning_rate(spec: TrainSpec, step: int, progress: float) -> float:
    """Return the rate at a step: linear warm-up, then constant, then a cosine to zero over the last ``decay`` share.

    On top come the geometric decay of ``gamma`` and the one drop to a tenth, where the recipe has them.
    ``progress`` is how much of the run is over, from 0 to 1.
    """
    rising = min(1.0, (step + 1) / spec.warm_up) if spec.warm_up else 1.0
    falling = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - progress) / spec.decay)) if spec.decay else 1.0
    stepped = spec.gamma ** (step // spec.gamma_every)
    dropped = 0.1 if spec.drop_at is not None and step >= spec.drop_at else 1.0
    return spec.learning_rate * rising * falling * stepped * dropped


def generator_of(seed: int, step: int) -> torch.Generator:
    """Return the randomness of one step, a function of (seed, step) alone, so that a resumed run repeats it."""
    # The CPU generator looks at the lowest 32 bits alone.
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**32)
