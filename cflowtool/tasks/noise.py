"""How strong the noise of an image is."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

# What is measured of a large image: its middle.
_SIDE = 1024
_MAD = 0.6745
_MEAN_WINDOW = 7
# Blocks of responses of the grey, the share of them that is taken for untextured, and what that quantile is of noise of
# deviation 1 (of 8,600 such blocks).
_BLOCK, _SMOOTHEST, _QUANTILE_OF_NOISE = 16, 0.05, 0.832
_ROUNDS, _FEWEST, _PLACES = 4, 0.02, 64
_SILENT = 8


def is_grey(image: Tensor) -> Tensor:
    """Return which images of (B, C, H, W) have equal channels, (B,)."""
    return (image == image[:, :1]).flatten(1).all(1)


def estimate_sigma(image: Tensor) -> float:
    """Return the standard deviation of white noise in an image (1, 3, H, W), in 8-bit levels; less than 3 x 3 give 0.

    sigma is the median of |n * d| / 0.6745 with n = [1 -2 1]' [1 -2 1] / 6 (Immerkaer 1996), where d are the colour
    differences (R - B) / sqrt 2 and (R - 2 G + B) / sqrt 6: noise is as strong in them, texture hardly shows. Where
    they have less than an eighth of the noise of the grey (R + G + B) / sqrt 3, as in many JPEGs, and in images without
    colour, it is that of the grey in its smoothest blocks of 16 x 16. Places whose mean is within two sigma of the
    lowest or highest level, where noise is clipped, do not count as long as there are others.
    """
    height, width = image.shape[-2:]
    if min(height, width) < 3:
        return 0.0
    top, left = max(0, height - _SIDE) // 2, max(0, width - _SIDE) // 2
    values = 256 * image[..., top : top + _SIDE, left : left + _SIDE]
    if is_grey(values):
        return _of_grey(values, values[:, :1])
    red, green, blue = values.split(1, 1)
    coloured = _of_colours(values, torch.cat(((red - blue) / math.sqrt(2), (red - 2 * green + blue) / math.sqrt(6))))
    grey = _of_grey(values, values.sum(1, keepdim=True) / math.sqrt(3))
    return coloured if coloured > grey / _SILENT else grey


def _of_colours(values: Tensor, differences: Tensor) -> float:
    found, mean = _response(differences).flatten(2)[:, 0], _mean(values).flatten(1)
    return _unclipped(mean[..., None], lambda kept: float(found[:, kept].median()))


def _of_grey(values: Tensor, grey: Tensor) -> float:
    found, mean = _response(grey), _mean(values)
    blocks = [side // _BLOCK for side in found.shape[-2:]]
    if math.prod(blocks) * _SMOOTHEST < 1:
        return _unclipped(mean.flatten(1)[..., None], lambda kept: float(found.flatten()[kept].median()))
    medians = F.unfold(found, _BLOCK, stride=_BLOCK)[0].median(0).values
    means = F.unfold(mean, _BLOCK, stride=_BLOCK).transpose(1, 2)
    return _unclipped(means, lambda kept: float(medians[kept].quantile(_SMOOTHEST))) / _QUANTILE_OF_NOISE


def _response(planes: Tensor) -> Tensor:
    second = torch.tensor([1.0, -2.0, 1.0], dtype=planes.dtype, device=planes.device)
    return F.conv2d(planes, torch.outer(second, second)[None, None] / 6).abs() / _MAD


def _mean(values: Tensor) -> Tensor:
    means = F.avg_pool2d(values, 3, 1).transpose(0, 1)
    return F.avg_pool2d(means, _MEAN_WINDOW, 1, _MEAN_WINDOW // 2, count_include_pad=False)


def _unclipped(means: Tensor, measure: Callable[[Tensor], float]) -> float:
    """Return the measure of the places whose mean is two of it away from both ends; means (C, places, pixels)."""
    clear = (means.amin((0, 2)) > 1) & (means.amax((0, 2)) < 255)
    centre = means.mean(2)
    lowest, highest = centre.amin(0), centre.amax(0)
    fewest = max(_FEWEST * clear.numel(), min(_PLACES, clear.numel() / 5))
    sigma = measure(torch.ones_like(clear))
    for _ in range(_ROUNDS):
        kept = clear & (lowest > 2 * sigma) & (highest < 256 - 2 * sigma)
        if int(kept.sum()) < fewest:
            break
        sigma = measure(kept)
    return sigma
