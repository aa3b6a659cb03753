"""Convolutions by the faster of torch's libraries."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .prepared import Preparable

# torch's own rules for leaving a convolution out: at most so many images, or values of one image.
_FEW_IMAGES = 15
_FEW_VALUES = 20480
_AVAILABLE = torch.backends.mkldnn.is_available()
_arrange, _pointwise = torch.ops.mkldnn._reorder_convolution_weight, torch.ops.mkldnn._convolution_pointwise.default
# Multiplications from which oneDNN is worth its preparations.
_WORTH = 2**21

Pair = tuple[int, int]
Then = Literal["none", "relu", "tanh"]


class Fixed:
    """A convolution whose kernel does not change, by one call of oneDNN where that computes it.

    The kernel is kept in the order that oneDNN wants for the shape of images that came last. Otherwise it is brought
    into that order in every call, which for small images takes as long as the convolution.
    """

    _shape: torch.Size | None = None
    _arranged: Tensor

    def __init__(
        self,
        kernel: Tensor,
        bias: Tensor | None = None,
        padding: Pair = (0, 0),
        stride: Pair = (1, 1),
        groups: int = 1,
    ) -> None:
        self.kernel, self.bias = kernel.detach(), None if bias is None else bias.detach()
        self.how = padding, stride, groups

    def __reduce__(self) -> tuple[type[Fixed], tuple[object, ...]]:
        # A tensor in an order of oneDNN's own can be neither copied nor stored.
        return Fixed, (self.kernel, self.bias, *self.how)

    def __call__(self, x: Tensor, then: Then = "none", bias: Tensor | None = None) -> Tensor:
        """Return ``then`` of (B, D, H', W') of x (B, C, H, W); without a bias one may be given, of any shape."""
        bias, (padding, stride, groups) = self.bias if bias is None else bias.flatten(), self.how
        if not by_onednn(x):
            return convolve(x, self.kernel, bias, padding, stride, groups, then)
        if x.shape != self._shape:
            self._arranged = _arrange(self.kernel, padding, stride, (1, 1), groups, list(x.shape))
            self._shape = x.shape
        out: Tensor = _pointwise(x, self._arranged, bias, padding, stride, (1, 1), groups, then, [], "")
        return out


def convolve(
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None = None,
    padding: Pair = (0, 0),
    stride: Pair = (1, 1),
    groups: int = 1,
    then: Then = "none",
) -> Tensor:
    """Return ``then`` of the convolution of x (B, C, H, W) with kernel (D, C / groups, k, k), (B, D, H', W').

    In fp32 on a CPU torch gives 1x1 convolutions on one thread, and those of one small image, to a library that is half
    as fast as oneDNN here. This sends them to oneDNN; what comes out differs by rounding alone.
    """
    out = _convolve(x, kernel, bias, padding, stride, groups)
    if then == "none":
        return out
    return F.relu(out, inplace=True) if then == "relu" else torch.tanh(out)


def _convolve(x: Tensor, kernel: Tensor, bias: Tensor | None, padding: Pair, stride: Pair, groups: int) -> Tensor:
    if _has_onednn(x):
        if _is_left_out_pointwise(x, kernel, stride, groups):
            # Of a 1x1 kernel a dilation changes nothing but the choice of the library.
            return F.conv2d(x, kernel, bias, stride, padding, 2, groups)
        if _is_left_out_single(x, kernel, stride, groups):
            return torch.mkldnn_convolution(x, kernel, bias, padding, stride, (1, 1), groups)
    return F.conv2d(x, kernel, bias, stride, padding, 1, groups)


def by_onednn(x: Tensor) -> bool:
    """Say whether oneDNN computes convolutions of x, in fp32 and without gradients."""
    return not torch.is_grad_enabled() and _has_onednn(x)


def _has_onednn(x: Tensor) -> bool:
    plain = x.dtype == torch.float32 and x.is_cpu and not torch.is_autocast_enabled("cpu")
    return plain and _AVAILABLE and bool(torch._C._get_mkldnn_enabled())


def _is_left_out_pointwise(x: Tensor, kernel: Tensor, stride: Pair, groups: int) -> bool:
    alone = kernel.shape[-2:] == (1, 1) and stride == (1, 1) and torch.get_num_threads() == 1
    return alone and x.shape[0] <= _FEW_IMAGES and (groups > 1 or x.shape[0] > 1 or x.numel() > _FEW_VALUES)


def _is_left_out_single(x: Tensor, kernel: Tensor, stride: Pair, groups: int) -> bool:
    single = x.shape[0] == 1 and groups == 1 and stride == (1, 1) and x.numel() <= _FEW_VALUES
    return single and not torch.is_grad_enabled() and kernel.numel() * x.shape[-2] * x.shape[-1] > _WORTH


class Conv2d(Preparable, nn.Conv2d):
    """torch's convolution layer by ``convolve``; its padding is a number and it has no dilation."""

    _fixed: Fixed

    @property
    def fixed(self) -> Fixed:
        """The convolution by the kernel as it is, which may be made of other parameters."""
        return Fixed(self.weight, self.bias, *self._places, self.groups)

    @property
    def _places(self) -> tuple[Pair, Pair]:
        assert isinstance(self.padding, tuple)
        return (self.padding[0], self.padding[1]), (self.stride[0], self.stride[1])

    def make(self) -> None:
        """Keep the convolution as it is."""
        self._fixed = self.fixed

    def forward(self, x: Tensor, then: Then = "none", bias: Tensor | None = None) -> Tensor:
        """Return ``then`` of (B, D, H', W') of x (B, C, H, W); without a bias one may be given, of any shape."""
        if self.prepared and not torch.is_grad_enabled():
            return self._fixed(x, then, bias)
        bias = self.bias if bias is None else bias.flatten()
        return convolve(x, self.weight, bias, *self._places, self.groups, then)
