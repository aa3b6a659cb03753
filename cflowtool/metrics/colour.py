"""How colourful an image looks."""

from __future__ import annotations

import torch
from torch import Tensor


def colourfulness(rgb: Tensor) -> Tensor:
    """Colourfulness (...) of uint8 images (..., 3, H, W) after Hasler and Suesstrunk (2003), section 7; grey has 0.

    M = (s_rg^2 + s_yb^2)^(1/2) + 0.3 (m_rg^2 + m_yb^2)^(1/2), with s and m the standard deviation and the mean over the
    pixels of rg = R - G and yb = (R + G) / 2 - B, all in [0, 255]; 15 is slightly, 109 extremely colourful.
    Raises ValueError for anything but uint8 with three channels.
    """
    if rgb.dtype != torch.uint8 or rgb.ndim < 3 or rgb.shape[-3] != 3:
        raise ValueError(f"colourfulness wants uint8 (..., 3, H, W), not {rgb.dtype} {tuple(rgb.shape)}")
    red, green, blue = rgb.double().flatten(-2).unbind(-2)
    opponents = torch.stack([red - green, (red + green) / 2 - blue])
    spread = opponents.var(-1, correction=0).sum(0).sqrt()
    return spread + 0.3 * opponents.mean(-1).square().sum(0).sqrt()
