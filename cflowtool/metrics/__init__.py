"""How good a result is: against the truth, against its own samples, and as a likelihood."""

from cflowtool.metrics.calibration import coverage, exploded
from cflowtool.metrics.likelihood import bits_per_dim
from cflowtool.metrics.psnr import luma, psnr_rgb, psnr_y
from cflowtool.metrics.ssim import ssim_y

__all__ = ["bits_per_dim", "coverage", "exploded", "luma", "psnr_rgb", "psnr_y", "ssim_y"]
