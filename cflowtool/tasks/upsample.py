"""Joint upsampling: planes made at a small size brought to a picture's, along the edges of the picture's own luma."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def windowed_mean(planes: Tensor, radius: int) -> Tensor:
    """Return the mean of (B, C, h, w) over windows of (2 radius + 1)^2, cut off at the borders."""
    return F.avg_pool2d(planes, 2 * radius + 1, 1, radius, count_include_pad=False)


def local_slope(guide: Tensor, planes: Tensor, radius: int, regularization: float) -> Tensor:
    """Return a (B, C, h, w) of the linear model planes = a guide + b around each pixel.

    a = sum(cov(guide, planes)) / sum(var(guide) + regularization) over the windows that a pixel lies in (He, Sun and
    Tang 2013, equation 5): an average of their slopes in which a window with an edge counts as much as it knows.
    """
    mean_guide, mean_planes = windowed_mean(guide, radius), windowed_mean(planes, radius)
    covariance = windowed_mean(guide * planes, radius) - mean_guide * mean_planes
    variance = (windowed_mean(guide.square(), radius) - mean_guide.square()).clamp_min(0)
    return windowed_mean(covariance, radius) / (windowed_mean(variance, radius) + regularization)


class JointUpsampling:
    """Planes (B, C, h, w) at the size of a guide (1, 1, H, W), of which ``guide`` (1, 1, h, w) is a small version.

    planes = a guide + rest, with a that of the local linear model; a and rest are upsampled bilinearly and put together
    with the full guide (the fast guided filter, He and Sun 2015). The rest is all that the model leaves: what no edge
    of the guide explains is interpolated, and planes of the guide's own size stay as they are. Rows are made when asked
    for, so that a large picture never needs all of them at once.
    """

    def __init__(
        self, guide: Tensor, planes: Tensor, width: int, radius: int = 1, regularization: float = 100.0
    ) -> None:
        slope = local_slope(guide, planes, radius, regularization)
        self.pair, self.width = torch.cat((slope, planes - slope * guide), 1), width

    def rows(self, top: int, height: int, full: Tensor) -> Tensor:
        """Return (B, C, n, W) of n rows of the full guide (1, 1, n, W) from row ``top`` of ``height`` on."""
        small = self.pair.shape[-2]
        rows = torch.arange(top, top + full.shape[-2], dtype=torch.float64, device=full.device)
        places = ((rows + 0.5) * small / height - 0.5).clamp(0, small - 1)
        above = places.long()
        below = (above + 1).clamp_max(small - 1)
        first, last = int(above[0]), int(below[-1]) + 1
        wide = F.interpolate(self.pair[..., first:last, :], size=(last - first, self.width), mode="bilinear")
        share = (places - above)[:, None].to(self.pair)
        slope, rest = torch.lerp(wide[..., above - first, :], wide[..., below - first, :], share).chunk(2, 1)
        return slope * full + rest
