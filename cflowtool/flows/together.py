"""The 1x1 maps of many steps, made in a few operations for all of them instead of a few each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .linear import Transition, exact


def _stacked(tensors: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(tensors))


def _maps(steps: list[Transition]) -> tuple[Tensor, Tensor, Tensor]:
    """Return W diag(s), (K, C, C), its product with b, (K, C), and the log-determinants, (K,), of K steps."""
    linear = [step.linear for step in steps]
    log_s, log_scale = _stacked(each.log_s for each in linear), _stacked(step.actnorm.log_scale for step in steps)
    diagonal = torch.diag_embed(_stacked(each.sign for each in linear) * log_s.exp())
    unit = torch.eye(log_s.shape[1], dtype=log_s.dtype, device=log_s.device)
    lower = _stacked(each.lower for each in linear).tril(-1) + unit
    upper = _stacked(each.upper for each in linear).triu(1) + diagonal
    matrix = _stacked(each.permutation for each in linear) @ (lower @ upper) * log_scale.exp()[:, None]
    offset = (matrix @ _stacked(step.actnorm.bias for step in steps)[..., None])[..., 0]
    return matrix, offset, log_scale.sum(1) + log_s.sum(1)


@contextmanager
def made_together(parts: Iterable[nn.Module]) -> Iterator[None]:
    """Let the transition steps among ``parts`` use maps that are made at once, where these are made in every pass.

    In the first pass of training each waits for what the one before it gives: then nothing is made here.
    """
    steps = [part for part in parts if isinstance(part, Transition) and not part.has_map]
    ready = len(steps) > 1 and all(step.actnorm.seen or not step.training for step in steps)
    groups: dict[int, list[Transition]] = {}
    for step in steps if ready else ():
        groups.setdefault(step.linear.log_s.numel(), []).append(step)
    for group in groups.values():
        with exact(group[0].linear.log_s.device):
            made = _maps(group)
        for step, *own in zip(group, *(part.unbind(0) for part in made), strict=True):
            step.lent = own[0], own[1], own[2]
    try:
        yield
    finally:
        for group in groups.values():
            for step in group:
                step.lent = None
