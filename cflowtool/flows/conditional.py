"""c-Glow's steps: normalization and 1x1 convolution made from x for the whole image, and couplings that see x."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .coupling import AffineCoupling
from .pyramid import Chain
from .transform import Transform, bounded, total

LOG_SCALE_BOUND = 2.0
SHIFT_BOUND = 4.0
STRETCH_BOUND = 1.0
RADIUS = 2.0
_AT_EACH = "bhwij,bjhw->bihw"


def sum_everywhere(values: Tensor, like: Tensor) -> Tensor:
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
        return log_scale.exp() * y + shift, sum_everywhere(log_scale.sum(1, keepdim=True), y)

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return (z - b) exp(-s) and its log-det (B,)."""
        log_scale, shift = self._scale_and_shift(z, context)
        return (z - shift) * (-log_scale).exp(), -sum_everywhere(log_scale.sum(1, keepdim=True), z)


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

    def _matrix_and_scale(self, context: Tensor) -> tuple[Tensor, Tensor]:
        raw = context.to(self.rotation.dtype).permute(0, 2, 3, 1).unflatten(-1, (self.channels, self.channels))
        return _matrix_and_scale(raw, self.rotation)

    def matrix(self, context: Tensor) -> Tensor:
        """Return W, (b, h, w, C, C)."""
        return self._matrix_and_scale(context)[0]

    def forward(self, y: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return W y and its log-det (B,)."""
        with torch.autocast(y.device.type, enabled=False):
            matrix, log_scale = self._matrix_and_scale(context)
            return torch.einsum(_AT_EACH, matrix, y), sum_everywhere(log_scale.sum(-1)[:, None], y)

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return W^-1 z and its log-det (B,)."""
        with torch.autocast(z.device.type, enabled=False):
            matrix, log_scale = self._matrix_and_scale(context)
            return torch.einsum(_AT_EACH, _inverse(matrix), z), -sum_everywhere(log_scale.sum(-1)[:, None], z)


def _matrix_and_scale(raw: Tensor, rotation: Tensor) -> tuple[Tensor, Tensor]:
    """Return R L diag(exp(s)) U, (..., C, C), and s, (..., C), of raw (..., C, C) and R (C, C) or one a matrix."""
    unit = torch.eye(raw.shape[-1], dtype=raw.dtype, device=raw.device)
    log_scale = bounded(raw.diagonal(dim1=-2, dim2=-1), STRETCH_BOUND)
    lower, upper = unit + _within(raw.tril(-1), RADIUS), unit + _within(raw.triu(1), RADIUS)
    # Kept in fp32 it is a rotation to 1e-7 alone; a Newton step makes it one to the rounding of any precision.
    rotation = 1.5 * rotation - 0.5 * rotation @ (rotation.mT @ rotation)
    return rotation @ (lower @ (log_scale.exp()[..., None] * upper)), log_scale


def _inverse(matrix: Tensor) -> Tensor:
    """Return the inverse of (..., C, C), found in float64."""
    # Its condition is bounded: to ask whether it could be inverted would be to wait for a GPU.
    inverse: Tensor = torch.linalg.inv_ex(matrix.double()).inverse
    return inverse.to(matrix.dtype)


def _everywhere(matrix: Tensor, shift: Tensor, y: Tensor) -> Tensor:
    """Return M y + v at every position of y (B, C, H, W), of M (b, C, C) and v (b, 1, C), b being 1 or B."""
    rows = y.permute(0, 2, 3, 1)
    with torch.autocast(y.device.type, enabled=False):
        product = torch.baddbmm(shift, rows.flatten(1, 2), matrix.mT.expand(len(y), -1, -1))
    return product.view(rows.shape).permute(0, 3, 1, 2)


class ConditionalStep(nn.Module):
    """Conditional actnorm -> conditional 1x1 convolution -> conditional coupling (c-Glow figure 1).

    The first two are one map of the whole image, M y + v of ``matrix`` (B or 1, C, C) and ``shift`` (B or 1, 1, C); it
    is made with those of a level's other steps (``maps_of``) and its log-det is counted there. ``maps`` (B or 1, width,
    H, W) are for each position.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.affine = Chain([ConditionalActNorm(channels), Conditional1x1(channels)])
        self.coupling = AffineCoupling(channels, width)

    @property
    def rotation(self) -> Tensor:
        """R of the 1x1 convolution, (C, C)."""
        convolution = self.affine.transforms[1]
        assert isinstance(convolution, Conditional1x1)
        return convolution.rotation

    def forward(self, y: Tensor, matrix: Tensor, shift: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return z and the coupling's log-det, (B,)."""
        z, log_det = self.coupling(_everywhere(matrix, shift, y), maps)
        return z, log_det

    def inverse(self, z: Tensor, matrix: Tensor, shift: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return y and the log-det of the coupling's inverse, (B,)."""
        return self.inverse_by(z, *inverse_map(matrix, shift), maps)

    def inverse_by(self, z: Tensor, matrix: Tensor, shift: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same of M^-1 and -M^-1 v."""
        between, log_det = self.coupling.inverse(z, maps)
        return _everywhere(matrix, shift, between), log_det


def inverse_map(matrix: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Return M^-1 (..., C, C) and -M^-1 v (..., 1, C)."""
    with torch.autocast(matrix.device.type, enabled=False):
        inverse = _inverse(matrix)
        return inverse, -shift @ inverse.mT


def maps_of(rotations: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return M (b, K, C, C), v (b, K, 1, C) and the log-det of all at one position (b, 1, 1, 1), b being B or 1.

    ``vectors`` (b, K (2C + C^2), 1, 1) are what K steps are told of x, one after another: M = W diag(exp(s)) and
    v = W b of their normalizations exp(s) y + b and their 1x1 convolutions W, of ``rotations`` (K, C, C).
    """
    channels = rotations.shape[-1]
    raw = vectors.to(rotations.dtype).flatten(1).unflatten(1, (len(rotations), -1))
    with torch.autocast(vectors.device.type, enabled=False):
        log_scale = bounded(raw[..., :channels], LOG_SCALE_BOUND)
        shift = bounded(raw[..., channels : 2 * channels], SHIFT_BOUND)
        turn, stretch = _matrix_and_scale(raw[..., 2 * channels :].unflatten(-1, (channels, channels)), rotations)
        log_det = (log_scale + stretch).sum((1, 2))[:, None, None, None]
        return turn * log_scale.exp()[..., None, :], shift[..., None, :] @ turn.mT, log_det
