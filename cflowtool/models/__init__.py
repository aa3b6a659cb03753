"""The models of the papers, one file each."""

from .base import Density, Draws, Sampler, SizeRule
from .cnf import CNF
from .factored import Factored

MODELS: dict[str, type[Sampler]] = {"cnf": CNF, "factored": Factored}

__all__ = ["CNF", "MODELS", "Density", "Draws", "Factored", "Sampler", "SizeRule"]
