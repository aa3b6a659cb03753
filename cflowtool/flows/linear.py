"""The invertible 1x1 convolution, alone and fused with the activation normalization before it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from ..nets.convolution import Fixed, convolve
from ..nets.prepared import Preparable
from .actnorm import ActNorm
from .transform import Transform, total_constant


def exact(device: torch.device) -> AbstractContextManager[object]:
    """Leave autocast, in what it is not for."""
    return torch.autocast(device.type, enabled=False) if torch.is_autocast_enabled(device.type) else nullcontext()


def rotation(channels: int) -> Tensor:
    """Return a random orthogonal matrix (C, C) in float64."""
    orthogonal: Tensor = torch.linalg.qr(torch.randn(channels, channels, dtype=torch.float64))[0]
    return orthogonal


def haar(channels: int) -> Tensor:
    """Return the orthogonal matrix (4C, 4C) of one step of the Haar transform of 2 x 2 blocks, squeezed to channels.

    The C averages come first, then the differences across, down and along the diagonal, C each.
    """
    signs = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]], dtype=torch.float64)
    return torch.kron(signs / 2, torch.eye(channels, dtype=torch.float64)) @ by_place(channels)


def by_place(channels: int) -> Tensor:
    """Return the permutation (4C, 4C) that sorts squeezed channels by their place in the block, then by channel."""
    order = torch.arange(4 * channels).view(channels, 4).T.flatten()
    return torch.eye(4 * channels, dtype=torch.float64)[order]


def cancelling(channels: int, count: int) -> list[Tensor]:
    """Return matrices W_1 ... W_count (C, C), all but the last to a random basis, whose product is the identity."""
    bases = [torch.eye(channels, dtype=torch.float64), *(rotation(channels) for _ in range(count - 1))]
    return [after @ before.T for before, after in zip(bases, [*bases[1:], bases[0]], strict=True)]


def _fixed(matrix: Tensor, offset: Tensor | None) -> Fixed:
    return Fixed(matrix[:, :, None, None], offset)


def _mapped(values: Tensor, matrix: Tensor, offset: Tensor | None) -> Tensor:
    return convolve(values, matrix[:, :, None, None], offset)


def _one_after_another(first: Fixed, second: Fixed) -> Fixed:
    matrix, offset = second.kernel[..., 0, 0].double() @ first.kernel[..., 0, 0].double(), second.bias
    if first.bias is not None:
        moved = second.kernel[..., 0, 0].double() @ first.bias.double()
        offset = (moved if offset is None else moved + offset).to(first.bias.dtype)
    return _fixed(matrix.to(first.kernel.dtype), offset)


class Map1x1:
    """z = W y + c at every position and back, of constants, and log|det W|, a number."""

    def __init__(self, there: Fixed, back: Fixed, per_position: Tensor) -> None:
        self._there, self._back, self.per_position = there, back, per_position

    def there(self, y: Tensor) -> Tensor:
        """Return W y + c."""
        with exact(y.device):
            return self._there(y)

    def back(self, z: Tensor) -> Tensor:
        """Return W^-1 (z - c)."""
        with exact(z.device):
            return self._back(z)

    def then(self, other: Map1x1) -> Map1x1:
        """Return this map and after it the other one, as one."""
        there, back = _one_after_another(self._there, other._there), _one_after_another(other._back, self._back)
        return Map1x1(there, back, self.per_position + other.per_position)


class Affine1x1(Transform, Preparable):
    """z = W y + c at every position, of a matrix and an offset that are made of the parameters alone.

    ``prepare`` makes them and the inverse once, for a model that is used.
    """

    _map: Map1x1
    # W, c and log|det W|, made with those of other steps for one pass.
    lent: tuple[Tensor, Tensor, Tensor] | None = None

    @property
    def has_map(self) -> bool:
        """Whether nothing is to be made of the parameters in this pass."""
        return self.lent is not None or self.prepared

    def _there(self) -> tuple[Tensor, Tensor | None]:
        """Return W (C, C) and c (C,)."""
        raise NotImplementedError

    def _back(self) -> tuple[Tensor, Tensor | None]:
        """Return W^-1 and -W^-1 c."""
        raise NotImplementedError

    def _log_det(self) -> Tensor:
        """Return log|det W|, a number."""
        raise NotImplementedError

    def make(self) -> None:
        """Keep the map both ways."""
        self._map = self.as_map()

    def as_map(self) -> Map1x1:
        """Return the map both ways, of the parameters as they are."""
        return self._map if self.prepared else Map1x1(_fixed(*self._there()), _fixed(*self._back()), self._log_det())

    @property
    def per_position(self) -> Tensor:
        """log|det W|, a number."""
        if self.lent is not None:
            return self.lent[2]
        return self._map.per_position if self.prepared else self._log_det()

    def there(self, y: Tensor) -> Tensor:
        """Return W y + c."""
        if self.prepared:
            return self._map.there(y)
        with exact(y.device):
            return _mapped(y, *(self._there() if self.lent is None else self.lent[:2]))

    def back(self, z: Tensor) -> Tensor:
        """Return W^-1 (z - c)."""
        if self.prepared:
            return self._map.back(z)
        with exact(z.device):
            return _mapped(z, *self._back())

    def forward(self, y: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return W y + c and its log-det (B,)."""
        return self.there(y), total_constant(self.per_position, y)

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return W^-1 (z - c) and its log-det (B,)."""
        return self.back(z), total_constant(-self.per_position, z)


class Invertible1x1(Affine1x1):
    """z = W y at every position, W = P L (U + diag(sign exp(log_s))), log-det H W sum(log_s) (CNF section 2.1).

    P is a fixed permutation, L unit lower and U strictly upper triangular: W is regular by construction and the
    log-det costs no factorisation. It starts at a random rotation.
    """

    permutation: Tensor
    sign: Tensor

    def __init__(self, channels: int, start: Tensor | None = None) -> None:
        super().__init__()
        permutation, lower, upper = torch.linalg.lu(rotation(channels) if start is None else start.double())
        diagonal = upper.diagonal()
        kept = torch.get_default_dtype()
        self.register_buffer("permutation", permutation.to(kept))
        self.register_buffer("sign", diagonal.sign().to(kept))
        self.lower = nn.Parameter(lower.tril(-1).to(kept))
        self.upper = nn.Parameter(upper.triu(1).to(kept))
        self.log_s = nn.Parameter(diagonal.abs().log().to(kept))

    def _triangles(self) -> tuple[Tensor, Tensor]:
        unit = torch.eye(self.sign.numel(), dtype=self.sign.dtype, device=self.sign.device)
        diagonal = torch.diag(self.sign * self.log_s.exp())
        return self.lower.tril(-1) + unit, self.upper.triu(1) + diagonal

    def matrix(self) -> Tensor:
        """Return W, (C, C)."""
        lower, upper = self._triangles()
        product: Tensor = self.permutation @ (lower @ upper)
        return product

    def inverse_matrix(self) -> Tensor:
        """Return W^-1, (C, C), by two triangular solves in float64."""
        lower, upper = (triangle.double() for triangle in self._triangles())
        half = torch.linalg.solve_triangular(lower, self.permutation.double().T, upper=False, unitriangular=True)
        inverse: Tensor = torch.linalg.solve_triangular(upper, half, upper=True)
        return inverse.to(self.sign.dtype)

    def condition_number(self) -> float:
        """Return the ratio of the largest to the smallest singular value of W."""
        return float(torch.linalg.cond(self.matrix().detach().double()))

    def _there(self) -> tuple[Tensor, Tensor | None]:
        return self.matrix(), None

    def _back(self) -> tuple[Tensor, Tensor | None]:
        return self.inverse_matrix(), None

    def _log_det(self) -> Tensor:
        return self.log_s.sum()


class Transition(Affine1x1):
    """Activation normalization and the 1x1 convolution after it, z = W (exp(log_scale) (y + bias)), in one.

    ``start`` is what W is at first, by default a random rotation.
    """

    def __init__(self, channels: int, start: Tensor | None = None) -> None:
        super().__init__()
        self.actnorm = ActNorm(channels)
        self.linear = Invertible1x1(channels, start)

    def _log_det(self) -> Tensor:
        return self.actnorm.log_scale.sum() + self.linear.log_s.sum()

    def there(self, y: Tensor) -> Tensor:
        """Return W diag(s) y + W (s b); the first batch in training sets s and b."""
        self.actnorm.initialise(y)
        return super().there(y)

    def _there(self) -> tuple[Tensor, Tensor | None]:
        matrix = self.linear.matrix() * self.actnorm.log_scale.exp()
        return matrix, matrix @ self.actnorm.bias

    def _back(self) -> tuple[Tensor, Tensor | None]:
        return self.linear.inverse_matrix() * self.actnorm.log_scale.neg().exp()[:, None], -self.actnorm.bias


def wavelet_transitions(channels: int, count: int) -> list[Transition]:
    """Return transition steps after a squeeze of C channels, the first of which starts at the Haar transform.

    The others start at the identity. The activation normalization between them sees averages and differences apart, so
    that already the untrained flow gives neighbours the correlation that the data has.
    """
    identity = torch.eye(4 * channels, dtype=torch.float64)
    return [Transition(4 * channels, identity if k else haar(channels)) for k in range(count)]
