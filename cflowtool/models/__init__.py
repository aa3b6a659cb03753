"""The models of the papers, one file each."""

from .base import Density, Draws, Sampler, SizeRule
from .binary import BinaryCNF, FactoredBinary
from .caflow import CAFLOW
from .cglow import CGlow
from .cnf import CNF
from .factored import Factored
from .tim import TIM

MODELS: dict[str, type[Sampler]] = {
    "cnf": CNF,
    "caflow": CAFLOW,
    "cglow": CGlow,
    "factored": Factored,
    "binary-cnf": BinaryCNF,
    "factored-binary": FactoredBinary,
    "tim": TIM,
}

__all__ = ["CAFLOW", "CNF", "MODELS", "TIM", "CGlow", "Density", "Draws", "Factored", "Sampler", "SizeRule"]
