"""x is what a JPEG of the truth shows."""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from cflowtool.images import quantise
from cflowtool.tasks.decompress import Decompress, compressed
from cflowtool.tasks.eight_bit import as_pixels


def photo(batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = F.interpolate(torch.rand(batch, 3, 5, 5, generator=generator), size=(48, 64), mode="bilinear")
    return quantise(coarse + 0.05 * torch.randn(coarse.shape, generator=generator))


def error(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).square().flatten(1).mean(1)


def test_x_is_what_another_jpeg_codec_shows() -> None:
    stored = io.BytesIO()
    Image.fromarray(as_pixels(photo())).save(stored, "JPEG", quality=20, subsampling="4:2:0")
    theirs = np.array(Image.open(stored)).astype(int)
    ours = as_pixels(Decompress(20).pair(photo())[0]).astype(int)
    assert np.abs(theirs - ours).mean() < 1


def test_the_lower_the_quality_the_less_is_left() -> None:
    errors = [error(Decompress(q).pair(photo())[0], photo()).item() for q in (5, 20, 50, 95)]
    assert errors == sorted(errors, reverse=True) and errors[0] > 3 * errors[-1]


def test_qualities_of_a_range_are_drawn_for_each_image() -> None:
    truth = photo().expand(12, -1, -1, -1)
    x, _ = Decompress([5, 90]).pair(truth, torch.Generator().manual_seed(0))
    spread = error(x, truth)
    worst, best = (error(compressed(truth[:1], [q]), truth[:1]).item() for q in (5, 90))
    assert spread.unique().numel() > 6 and best <= spread.min() and spread.max() <= worst


def test_the_truth_compresses_to_x_and_another_image_does_not() -> None:
    task, truth = Decompress(15), photo(2)
    x, y = task.pair(truth)
    right, wrong = task.degraded_error(x[:1], y[:1]), task.degraded_error(x[:1], y[1:])
    assert (right == 0).all() and wrong.square().mean() > 0.01
    assert torch.equal(Decompress([5, 60]).degraded_error(x, y), y - x)
