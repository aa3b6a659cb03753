"""The contract of every invertible map, and the one place where a log-determinant is summed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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


_variable: ContextVar[Tensor | None] = ContextVar("variable", default=None)


@contextmanager
def variable(where: Tensor) -> Iterator[None]:
    """Let only the blocks that ``where`` (B or 1, 1, h, w) has a 1 for be variables; the others are held at zero.

    h x w is the coarsest resolution that a transform of this block works at. What is held is no dimension of any
    log-determinant or log-density, and no part of a variable influences another one through it.
    """
    token = _variable.set(where)
    try:
        yield
    finally:
        _variable.reset(token)


def all_variable() -> bool:
    """Say whether every block is a variable."""
    return _variable.get() is None


def held(values: Tensor) -> Tensor:
    """Return (B, C, H, W) with zeros where there is no variable."""
    where = _variable.get()
    return values if where is None else values * F.interpolate(where.to(values), values.shape[-2:])


def total(values: Tensor, batch: int) -> Tensor:
    """Sum (b, C, H, W) over the counted dimensions and return (batch,), b being 1 or batch."""
    values, region = held(values), _region.get()
    sums = (values if region is None else region.crop(values)).sum((1, 2, 3))
    return sums if sums.shape[0] == batch else sums.expand(batch)


def occupied(values: Tensor) -> Tensor:
    """Return the variables of (B, C, H, W) as (C, n)."""
    where, columns = _variable.get(), values.transpose(0, 1).flatten(1)
    if where is None:
        return columns
    chosen = F.interpolate(where.to(values), values.shape[-2:]).expand(len(values), -1, -1, -1).flatten() > 0
    return columns[:, chosen] if chosen.any() else columns


def total_constant(per_position: Tensor, like: Tensor) -> Tensor:
    """Sum a log-determinant that is the same number at every position of ``like`` (B, C, H, W); return (B,)."""
    if _variable.get() is not None:
        return total(per_position * torch.ones_like(like[:, :1]), like.shape[0])
    region = _region.get()
    height, width = (like if region is None else region.crop(like)).shape[-2:]
    return (per_position * (height * width)).expand(like.shape[0])


def bounded(raw: Tensor, bound: float | Tensor) -> Tensor:
    """Return bound * tanh(raw / bound): the identity near 0, never outside (-bound, bound)."""
    return bound * torch.tanh(raw / bound)
