"""Modules that make once what depends on their parameters alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn


class Preparable(nn.Module):
    """A module that, where it is used and not trained, keeps what ``make`` makes of its parameters.

    A parameter that is changed in place, by an optimiser or by loading, makes that void, and so does a move to another
    device or precision.
    """

    _made_of: tuple[list[Tensor], list[int]] = [], []

    def make(self) -> None:
        """Make what is kept."""
        raise NotImplementedError

    @torch.no_grad()
    def prepare(self) -> Self:
        """Make what is kept, of the parameters as they are."""
        self.make()
        parameters: list[Tensor] = list(self.parameters())
        self._made_of = parameters, [parameter._version for parameter in parameters]
        return self

    @property
    def prepared(self) -> bool:
        """Whether what is kept has been made, of the parameters as they are."""
        parameters, versions = self._made_of
        return bool(versions) and not self.training and [p._version for p in parameters] == versions

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self._made_of = [], []
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self
