"""c-Glow's flow: levels of steps that are made from x."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .conditional import ConditionalStep, inverse_map, maps_of, sum_everywhere
from .gaussian import ConditionalSplitPrior, Latent
from .pyramid import Context
from .recompute import recomputed
from .squeeze import Squeeze


class HeadedStep(nn.Module):
    """A step given features instead of maps, which a ``head`` makes of them; it says nothing of whose the head is."""

    def __init__(self, step: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.step, self.head = step, head

    def forward(self, y: Tensor, matrix: Tensor, shift: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return z and the coupling's log-det, (B,)."""
        z, log_det = self.step(y, matrix, shift, self.head(features))
        return z, log_det

    def inverse(self, z: Tensor, matrix: Tensor, shift: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return y and the log-det of the coupling's inverse, (B,)."""
        y, log_det = self.step.inverse(z, matrix, shift, self.head(features))  # type: ignore[operator]
        return y, log_det


class ConditionalLevel(nn.Module):
    """Squeeze -> K conditional steps -> split, whose half is Gaussian given the other; the last level keeps nothing.

    ``vectors`` (B or 1, sum(vector_shares), 1, 1) are those of the steps in their order, whose own parts
    ``vector_groups`` tells apart; ``maps`` (B or 1, map_shares[k], H/2, W/2) are the steps' and then the split's. In
    training, with ``heads``, one a map, it is given features, much smaller, and makes maps of them where it needs them.
    With ``recompute`` training keeps nothing of what the steps compute (see cflowtool.flows.recompute).
    """

    recompute = False
    heads: tuple[nn.Module, ...] = ()

    def __init__(self, channels: int, steps: int, width: int, last: bool) -> None:
        super().__init__()
        self.squeeze = Squeeze()
        made = [ConditionalStep(4 * channels, width) for _ in range(steps)]
        self.steps = nn.ModuleList(made)
        self.prior = None if last else ConditionalSplitPrior(4 * channels, width)
        self.kept = 0 if last else 2 * channels
        self.split = 4 * channels - self.kept
        self.vector_groups = [share for step in made for share in step.affine.shares]
        self.vector_shares = [step.affine.context_channels for step in made]
        self.map_shares = [width] * (steps if last else steps + 1)

    @property
    def rotations(self) -> Tensor:
        """R of every step's 1x1 convolution, (K, C, C)."""
        return torch.stack([step.rotation for step in self.steps])  # type: ignore[misc]

    def forward(self, y: Tensor, vectors: Tensor, *maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the half that goes on (B, kept, H/2, W/2), the noise (B, split, H/2, W/2) and the log-det, (B,)."""
        y, _ = self.squeeze(y, vectors)
        training = self.training and torch.is_grad_enabled()
        heads = self.heads if training else ()
        steps = [HeadedStep(*pair) for pair in zip(self.steps, heads, strict=False)] if heads else self.steps
        matrices, shifts, per_position = maps_of(self.rotations, vectors)
        contexts = list(zip(matrices.unbind(1), shifts.unbind(1), maps, strict=False))
        if self.recompute and training:
            y, log_det = recomputed(list(steps), y, contexts)
        else:
            log_det = y.new_zeros(y.shape[0])
            for step, context in zip(steps, contexts, strict=True):
                y, change = step(y, *context)
                log_det = log_det + change
        log_det = log_det + sum_everywhere(per_position, y)
        if self.prior is not None:
            y, change = self.prior(y, heads[-1](maps[-1]) if heads else maps[-1])
            log_det = log_det + change
        kept, eps = y.split((self.kept, self.split), 1)
        return kept, eps, log_det

    def inverse(self, kept: Tensor, eps: Tensor, vectors: Tensor, *maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return y (B, C, H, W) and log|det dy / d(kept, eps)|, (B,)."""
        y, log_det = torch.cat((kept, eps), 1), eps.new_zeros(eps.shape[0])
        if self.heads and self.training and torch.is_grad_enabled():
            maps = tuple(head(part) for head, part in zip(self.heads, maps, strict=True))
        if self.prior is not None:
            y, log_det = self.prior.inverse(y, maps[-1])
        matrices, shifts, per_position = maps_of(self.rotations, vectors)
        inverses = (part.unbind(1) for part in inverse_map(matrices, shifts))
        for step, *context in reversed(list(zip(self.steps, *inverses, maps, strict=False))):
            y, change = step.inverse_by(y, *context)
            log_det = log_det + change
        return self.squeeze.inverse(y, vectors)[0], log_det - sum_everywhere(per_position, y)


class ConditionalPyramid(nn.Module):
    """L levels of squeeze -> K conditional steps -> split; what is left in the end is standard normal noise.

    ``context`` is vectors and all maps of the first level, then of the second, and so on. H and W are multiples of 2^L.
    """

    def __init__(self, channels: int, levels: int, steps: int, width: int) -> None:
        super().__init__()
        sizes = [channels * 2**level for level in range(levels)]
        self.levels = nn.ModuleList(ConditionalLevel(c, steps, width, c == sizes[-1]) for c in sizes)

    def latent_shapes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """Return (channels, height, width) of every level's noise for an image of height x width pixels."""
        widths: list[int] = [level.split for level in self.levels]  # type: ignore[misc]
        return [(c, height >> i, width >> i) for i, c in enumerate(widths, 1)]

    def _of_levels(self, context: Context) -> list[Context]:
        counts: list[int] = [1 + len(level.map_shares) for level in self.levels]  # type: ignore[arg-type]
        starts = [sum(counts[:k]) for k in range(len(counts))]
        return [context[start : start + count] for start, count in zip(starts, counts, strict=True)]

    def forward(self, y: Tensor, context: Context) -> tuple[Latent, Tensor]:
        """Return the noise of every level and log|det d eps / d y|, (B,)."""
        log_det, latent = y.new_zeros(y.shape[0]), []
        for level, given in zip(self.levels, self._of_levels(context), strict=True):
            y, eps, change = level(y, *given)
            latent.append(eps)
            log_det = log_det + change
        return tuple(latent), log_det

    def inverse(self, eps: Latent, context: Context) -> tuple[Tensor, Tensor]:
        """Return y and log|det d y / d eps|, (B,)."""
        y, log_det = eps[-1][:, :0], eps[0].new_zeros(eps[0].shape[0])
        levels = list(zip(self.levels, eps, self._of_levels(context), strict=True))
        for level, noise, given in reversed(levels):
            y, change = level.inverse(y, noise, *given)  # type: ignore[operator]
            log_det = log_det + change
        return y, log_det
