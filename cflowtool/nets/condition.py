"""The conditioning of a chain of injectors and couplings, all its steps at once."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from .convolution import Conv2d


class ConditionNet(nn.Module):
    """[u, v] -> for each of ``steps`` steps an injector's 2C parameters and a coupling net's first ``width`` features.

    u (``known`` channels) depends on x alone, v (``drawn`` channels, or none) on the sample too. An injector's net is
    conv 3x3 -> ReLU -> conv 1x1 -> ReLU -> conv 3x3 (CAFLOW appendix A.2, width 32), zero at the start; of a
    coupling's net this is the first convolution's share. That convolution is linear, conv([u, v]) = conv_u(u) +
    conv_v(v), so that ``hidden`` is made once per image. The nets of all steps are the groups of one convolution.
    """

    def __init__(self, known: int, drawn: int, steps: int, channels: int, width: int) -> None:
        super().__init__()
        self.steps, self.width = steps, width
        inner = steps * width
        self.from_known = Conv2d(known, 2 * inner, 3, padding=1) if known else None
        self.from_drawn = Conv2d(drawn, 2 * inner, 3, padding=1, bias=not known) if drawn else None
        self.middle = Conv2d(inner, inner, 1, groups=steps)
        self.last = Conv2d(inner, steps * 2 * channels, 3, padding=1, groups=steps)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def hidden(self, known: Tensor) -> Tensor:
        """Return conv_u(u), (B, 2 steps width, H, W), of u (B, known, H, W)."""
        if self.from_known is None:
            return known.new_zeros(1, 2 * self.steps * self.width, 1, 1)
        features: Tensor = self.from_known(known)
        return features

    def forward(self, hidden: Tensor, drawn: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return (B, 2 steps C, H, W) for the injectors and (B, steps width, H, W) for the couplings, step by step."""
        if self.from_drawn is not None:
            hidden = hidden + self.from_drawn(drawn)
        injectors, couplings = hidden.chunk(2, 1)
        return self.last(self.middle(F.relu(injectors), "relu")), couplings
