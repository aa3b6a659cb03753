"""c-Glow's flow: normalization and 1x1 convolution made from x for the whole image, and couplings that see x."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .coupling import AffineCoupling
from .gaussian import ConditionalSplitPrior, Latent
from .pyramid import Chain, Context
from .recompute import recomputed
from .squeeze import Squeeze
from .transform import Transform, bounded, total

LOG_SCALE_BOUND = 2.0
SHIFT_BOUND = 4.0
STRETCH_BOUND = 1.0
RADIUS = 2.0


def _sum_everywhere(values: Tensor, like: Tensor) -> Tensor:
    """Return (B,), the sum of (b, 1, h, w), h and w being 1 or those of ``like`` (B, C, H, W), at all positions."""
    return total(values.expand(-1, -1, *like.shape[-2:]), like.shape[0])


def _within(matrices: Tensor, radius: float) -> Tensor:
    """Return matrices scaled to a Frobenius norm below ``radius``: the identity near 0, smooth everywhere."""
    return matrices / (1 + matrices.square().sum((-2, -1), keepdim=True) / radius**2).sqrt()


class ConditionalActNorm(Transform):
    """z = exp(s(x)) y + b(x), log-det the sum of s over channels and positions (c-Glow section 4.1).

    The context (B or 1, 2C, 1, 1) is s and b before their bounds, |s| < 2 and |b| < 4: one vector for all positions.
    At y's resolution each position has its own. Zeros make the identity.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.context_channels = 2 * channels

    def _scale_and_shift(self, y: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        raw_scale, raw_shift = context.to(y.dtype).chunk(2, 1)
        return bounded(raw_scale, LOG_SCALE_BOUND), bounded(raw_shift, SHIFT_BOUND)

    def forward(self, y: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return exp(s) y + b and its log-det (B,)."""
        log_scale, shift = self._scale_and_shift(y, context)
        return log_scale.exp() * y + shift, _sum_everywhere(log_scale.sum(1, keepdim=True), y)

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return (z - b) exp(-s) and its log-det (B,)."""
        log_scale, shift = self._scale_and_shift(z, context)
        return (z - shift) * (-log_scale).exp(), -_sum_everywhere(log_scale.sum(1, keepdim=True), z)


class Conditional1x1(Transform):
    """z = W(x) y at every position, W = R L(x) diag(exp(s(x))) U(x), log-det H W sum(s) (c-Glow section 4.1).

    R is a fixed random rotation, L and U are unit triangles. The context (B or 1, C^2, 1, 1) is a C x C matrix whose
    parts below, on and above the diagonal make L, s and U: zeros make W the rotation, and no context makes it singular.
    |s| < 1 and the triangles' Frobenius norms are bounded, and so is W's condition number, whatever x is. At y's
    resolution each position has its own W.
    """

    rotation: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.context_channels = channels**2
        rotation = torch.linalg.qr(torch.randn(channels, channels, dtype=torch.float64))[0]
        self.register_buffer("rotation", rotation.to(torch.get_default_dtype()))

    def _rotation(self) -> Tensor:
        # Kept in fp32 it is a rotation to 1e-7 alone; a Newton step makes it one to the rounding of any precision.
        kept = self.rotation
        return 1.5 * kept - 0.5 * kept @ (kept.T @ kept)

    def _factors(self, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return L, s and U, (b, h, w, C, C) or (b, h, w, C), in the rotation's precision."""
        raw = context.to(self.rotation.dtype).permute(0, 2, 3, 1).unflatten(-1, (self.channels, self.channels))
        unit = torch.eye(self.channels, dtype=raw.dtype, device=raw.device)
        log_scale = bounded(raw.diagonal(dim1=-2, dim2=-1), STRETCH_BOUND)
        return unit + _within(raw.tril(-1), RADIUS), log_scale, unit + _within(raw.triu(1), RADIUS)

    def matrix(self, context: Tensor) -> Tensor:
        """Return W, (b, h, w, C, C)."""
        lower, log_scale, upper = self._factors(context)
        product: Tensor = self._rotation() @ (lower @ (log_scale.exp()[..., None] * upper))
        return product

    def inverse_matrix(self, context: Tensor) -> Tensor:
        """Return W^-1, (b, h, w, C, C), by two triangular solves in float64."""
        lower, log_scale, upper = (factor.double() for factor in self._factors(context))
        half = torch.linalg.solve_triangular(lower, self._rotation().double().T, upper=False, unitriangular=True)
        scaled = (-log_scale).exp()[..., None] * half
        inverse: Tensor = torch.linalg.solve_triangular(upper, scaled, upper=True, unitriangular=True)
        return inverse.to(self.rotation.dtype)

    def _log_det(self, y: Tensor, context: Tensor) -> Tensor:
        return _sum_everywhere(self._factors(context)[1].sum(-1)[:, None], y)

    def forward(self, y: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return W y and its log-det (B,)."""
        with torch.autocast(y.device.type, enabled=False):
            return _times(self.matrix(context), y), self._log_det(y, context)

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return W^-1 z and its log-det (B,)."""
        with torch.autocast(z.device.type, enabled=False):
            return _times(self.inverse_matrix(context), z), -self._log_det(z, context)


def _times(matrix: Tensor, y: Tensor) -> Tensor:
    """Return the product of (b, h, w, C, C) and y (B, C, H, W) at every position, h and w being 1 or H and W."""
    rows = y.permute(0, 2, 3, 1)
    if matrix.shape[1:3] == (1, 1):
        product = (rows.flatten(1, 2) @ matrix[:, 0, 0].mT).view_as(rows)
    else:
        product = (rows[..., None, :] @ matrix.mT)[..., 0, :]
    return product.permute(0, 3, 1, 2)


class ConditionalStep(nn.Module):
    """Conditional actnorm -> conditional 1x1 convolution -> conditional coupling (c-Glow figure 1).

    ``vectors`` (B or 1, 2C + C^2, 1, 1) are for the whole image, ``maps`` (B or 1, width, H, W) for each position.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.affine = Chain([ConditionalActNorm(channels), Conditional1x1(channels)])
        self.coupling = AffineCoupling(channels, width)

    def forward(self, y: Tensor, vectors: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return z and log|det dz/dy|, (B,)."""
        y, log_det_affine = self.affine(y, vectors)
        z, log_det = self.coupling(y, maps)
        return z, log_det + log_det_affine

    def inverse(self, z: Tensor, vectors: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return y and log|det dy/dz|, (B,)."""
        z, log_det_coupling = self.coupling.inverse(z, maps)
        y, log_det = self.affine.inverse(z, vectors)
        return y, log_det + log_det_coupling


class HeadedStep(nn.Module):
    """A step given features instead of maps, which a ``head`` makes of them; it says nothing of whose the head is."""

    def __init__(self, step: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.step, self.head = step, head

    def forward(self, y: Tensor, vectors: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return z and log|det dz/dy|, (B,)."""
        z, log_det = self.step(y, vectors, self.head(features))
        return z, log_det

    def inverse(self, z: Tensor, vectors: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return y and log|det dy/dz|, (B,)."""
        y, log_det = self.step.inverse(z, vectors, self.head(features))  # type: ignore[operator]
        return y, log_det


class ConditionalLevel(nn.Module):
    """Squeeze -> K conditional steps -> split, whose half is Gaussian given the other; the last level keeps nothing.

    ``vectors`` (B or 1, sum(vector_shares), 1, 1) are those of the steps in their order, whose own parts
    ``vector_groups`` tells apart; ``maps`` (B or 1, map_shares[k], H/2, W/2) are the steps' and then the split's. With
    ``recompute`` training keeps nothing of what the steps compute (see cflowtool.flows.recompute); where there are
    ``heads``, one a map, it is given features that they make the maps of, and keeps nothing of these either.
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

    def forward(self, y: Tensor, vectors: Tensor, *maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the half that goes on (B, kept, H/2, W/2), the noise (B, split, H/2, W/2) and the log-det, (B,)."""
        y, log_det = self.squeeze(y, vectors)
        contexts = list(zip(vectors.split(self.vector_shares, 1), maps, strict=False))
        if self.recompute and self.training and torch.is_grad_enabled():
            headed = [HeadedStep(*pair) for pair in zip(self.steps, self.heads, strict=False)]
            y, log_det = recomputed(headed or list(self.steps), y, contexts)
            contexts, maps = [], (*maps[:-1], self.heads[-1](maps[-1]) if headed else maps[-1])
        for step, context in zip(self.steps, contexts, strict=False):
            y, change = step(y, *context)
            log_det = log_det + change
        if self.prior is not None:
            y, change = self.prior(y, maps[-1])
            log_det = log_det + change
        kept, eps = y.split((self.kept, self.split), 1)
        return kept, eps, log_det

    def inverse(self, kept: Tensor, eps: Tensor, vectors: Tensor, *maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return y (B, C, H, W) and log|det dy / d(kept, eps)|, (B,)."""
        y, log_det = torch.cat((kept, eps), 1), eps.new_zeros(eps.shape[0])
        if self.prior is not None:
            y, log_det = self.prior.inverse(y, maps[-1])
        steps = list(zip(self.steps, vectors.split(self.vector_shares, 1), maps, strict=False))
        for step, vector, share in reversed(steps):
            y, change = step.inverse(y, vector, share)
            log_det = log_det + change
        return self.squeeze.inverse(y, vectors)[0], log_det


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
