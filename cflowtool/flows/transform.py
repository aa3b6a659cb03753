"""The contract of every invertible map, and the one place where a log-determinant is summed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor, nn


class Transform(nn.Module):
    """An invertible map z = f(y; context), whose context is what depends on x alone.

    ``context`` has ``context_channels`` channels at the resolution of y (0: it is not looked at), and a batch of
    1 or of y's own size. Both directions return a log-determinant of shape (B,), in nats.
    """

    context_channels: int = 0

    def forward(self, y: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return z = f(y; context), (B, C', H', W'), and log|det dz/dy|, (B,)."""
        raise NotImplementedError

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return y with f(y; context) = z, (B, C, H, W), and log|det dy/dz|, (B,), the negative of forward's."""
        raise NotImplementedError


@dataclass(frozen=True)
class Region:
    """The rectangle of an image, in pixels of its (height, width), whose dimensions are counted."""

    height: int
    width: int
    top: int
    left: int
    bottom: int
    right: int

    def crop(self, values: Tensor) -> Tensor:
        """Return the part of (..., h, w) that lies in the rectangle, at whatever resolution the values have."""
        h, w = values.shape[-2:]
        rows = slice(self.top * h // self.height, self.bottom * h // self.height)
        columns = slice(self.left * w // self.width, self.right * w // self.width)
        return values[..., rows, columns]


_region: ContextVar[Region | None] = ContextVar("region", default=None)


@contextmanager
def counted(region: Region) -> Iterator[None]:
    """Count only the dimensions inside ``region`` in every log-determinant and log-density of this block.

    log p of an image is a sum of local terms, so the terms of the tiles' cores add up to that of the whole image.
    """
    token = _region.set(region)
    try:
        yield
    finally:
        _region.reset(token)


def total(values: Tensor, batch: int) -> Tensor:
    """Sum (b, C, H, W) over the counted dimensions and return (batch,), b being 1 or batch."""
    region = _region.get()
    values = values if region is None else region.crop(values)
    return values.flatten(1).sum(1).expand(batch)


def total_constant(per_position: Tensor, like: Tensor) -> Tensor:
    """Sum a log-determinant that is the same number at every position of ``like`` (B, C, H, W); return (B,)."""
    region = _region.get()
    height, width = (like if region is None else region.crop(like)).shape[-2:]
    return (per_position * (height * width)).expand(like.shape[0])


def bounded(raw: Tensor, bound: float) -> Tensor:
    """Return bound * tanh(raw / bound): the identity near 0, never outside (-bound, bound)."""
    return bound * torch.tanh(raw / bound)
