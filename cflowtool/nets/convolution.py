"""Convolutions by the faster of torch's libraries."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# torch's own rules for leaving a convolution out: at most so many images, or values of one image.
_FEW_IMAGES = 15
_FEW_VALUES = 20480
# Multiplications from which oneDNN is worth its preparations.
_WORTH = 2**21

Pair = tuple[int, int]


def convolve(
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None = None,
    padding: Pair = (0, 0),
    stride: Pair = (1, 1),
    groups: int = 1,
) -> Tensor:
    """Return the convolution of x (B, C, H, W) with kernel (D, C / groups, k, k), (B, D, H', W').

    In fp32 on a CPU torch gives 1x1 convolutions on one thread, and those of one small image, to a library that is half
    as fast as oneDNN here. This sends them to oneDNN; what comes out differs by rounding alone.
    """
    if _has_onednn(x):
        if _is_left_out_pointwise(x, kernel, stride, groups):
            # Of a 1x1 kernel a dilation changes nothing but the choice of the library.
            return F.conv2d(x, kernel, bias, stride, padding, 2, groups)
        if _is_left_out_single(x, kernel, stride, groups):
            return torch.mkldnn_convolution(x, kernel, bias, padding, stride, (1, 1), groups)
    return F.conv2d(x, kernel, bias, stride, padding, 1, groups)


def _has_onednn(x: Tensor) -> bool:
    plain = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return plain and torch.backends.mkldnn.is_available() and bool(torch.backends.mkldnn.enabled)


def _is_left_out_pointwise(x: Tensor, kernel: Tensor, stride: Pair, groups: int) -> bool:
    alone = kernel.shape[-2:] == (1, 1) and stride == (1, 1) and torch.get_num_threads() == 1
    return alone and x.shape[0] <= _FEW_IMAGES and (groups > 1 or x.shape[0] > 1 or x.numel() > _FEW_VALUES)


def _is_left_out_single(x: Tensor, kernel: Tensor, stride: Pair, groups: int) -> bool:
    single = x.shape[0] == 1 and groups == 1 and stride == (1, 1) and x.numel() <= _FEW_VALUES
    return single and not torch.is_grad_enabled() and kernel.numel() * x.shape[-2] * x.shape[-1] > _WORTH


class Conv2d(nn.Conv2d):
    """torch's convolution layer by ``convolve``; its padding is a number and it has no dilation."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, out_channels, H', W') of x (B, in_channels, H, W)."""
        assert isinstance(self.padding, tuple)
        padding, stride = (self.padding[0], self.padding[1]), (self.stride[0], self.stride[1])
        return convolve(x, self.weight, self.bias, padding, stride, self.groups)
