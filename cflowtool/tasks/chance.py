"""The randomness of each image of a batch, and the options that say how far it goes."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor


def generators(images: Tensor, generator: torch.Generator | None) -> list[torch.Generator]:
    """Return one generator for each image (B, C, H, W): seeded by the given one or, without one, by the image itself.

    The first images of a larger batch get the same ones as the whole of a smaller batch.
    """
    if generator is None:
        seeds = [zlib.crc32(image.detach().cpu().contiguous().numpy().tobytes()) for image in images]
    else:
        seeds = [int(torch.randint(2**32, (), generator=generator)) for _ in images]
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def uniform(low: float, high: float, generator: torch.Generator) -> float:
    """Return a number from [low, high)."""
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


def interval(name: str, value: float | Sequence[float], lowest: float, highest: float) -> tuple[float, float]:
    """Return (low, high) of an option that is a number or two rising ones; raise ValueError outside the limits."""
    given = list(value) if isinstance(value, list | tuple) else [value, value]
    numbers = [v for v in given if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(given) != 2 or len(numbers) != 2 or not lowest <= numbers[0] <= numbers[1] <= highest:
        raise ValueError(f"{name} is a number or two rising ones from {lowest:g} to {highest:g}, not {value!r}")
    return float(numbers[0]), float(numbers[1])
