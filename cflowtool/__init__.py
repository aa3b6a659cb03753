"""cflowtool: image restoration by conditional normalizing flows, where the answer is a distribution."""

__version__ = "0.1.0"
