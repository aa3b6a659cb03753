"""What is known stays bit for bit, whatever is filled in."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cflowtool.errors import UsageError
from cflowtool.images import quantise
from cflowtool.tasks.inpaint import Inpaint


def smooth(side: int = 48, batch: int = 1) -> Tensor:
    coarse = torch.rand(batch, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    return quantise(F.interpolate(coarse, size=(side, side), mode="bilinear"))


@pytest.mark.parametrize("mask", ["centre", "strokes", "mixed"])
def test_known_pixels_are_the_inputs_and_filled_ones_the_samples(mask: str) -> None:
    task, truth = Inpaint(mask), smooth(batch=3)
    x, y = task.pair(truth, torch.Generator().manual_seed(0))
    hole = x[:, 3:] == 1
    assert torch.equal(hole, x[:, 3:] != 0) and torch.equal(y, truth) and 0 < hole.double().mean() <= 0.25
    assert (x[:, :3].masked_select(hole) == 0.5).all()
    noise = torch.rand_like(y)
    result = task.assemble(x, noise)
    assert torch.equal(result.masked_select(~hole), truth.masked_select(~hole))
    assert torch.equal(result.masked_select(hole), noise.masked_select(hole))
    assert (task.degraded_error(x, result) == 0).all()
    assert (task.degraded_error(x, 1 - truth) != 0).any()


def test_each_image_of_a_batch_has_a_hole_of_its_own() -> None:
    x, _ = Inpaint("mixed").pair(smooth().expand(8, -1, -1, -1), torch.Generator().manual_seed(0))
    assert len({one.numpy().tobytes() for one in x[:, 3]}) == 8


def test_a_user_gives_the_mask_and_it_is_needed() -> None:
    image, mask = smooth(), torch.zeros(1, 3, 48, 48)
    mask[..., 5:9, 7:20] = 0.6
    x = Inpaint().condition(image, mask)
    assert x.shape == (1, 4, 48, 48) and x[:, 3].sum() == 4 * 13 and set(x[:, 3].unique().tolist()) == {0, 1}
    assert torch.equal(Inpaint().assemble(x, image), image)
    with pytest.raises(UsageError, match="needs a mask"):
        Inpaint().condition(image)
    with pytest.raises(UsageError, match="47 x 48"):
        Inpaint().condition(image, mask[..., 1:])


def test_the_baseline_fills_a_smooth_image_and_leaves_the_rest() -> None:
    task, truth = Inpaint("strokes"), smooth(batch=2)
    x, _ = task.pair(truth, torch.Generator().manual_seed(1))
    base, hole = task.baseline(x), x[:, 3:] > 0.5
    assert torch.equal(base.masked_select(~hole), truth.masked_select(~hole))
    wrong, nothing = ((filled - truth).masked_select(hole).abs().mean() for filled in (base, x[:, :3]))
    assert wrong < 0.4 * nothing


def test_the_metric_of_the_hole_is_about_the_hole_alone() -> None:
    task, truth = Inpaint("centre"), smooth()
    x, _ = task.pair(truth)
    within = task.within(x, truth)
    outside = torch.where(within, truth, 1 - truth)
    assert task.metrics(outside, truth, within)["psnr_hole"] == 100 > task.metrics(outside, truth, within)["psnr"]
    assert "psnr_hole" not in task.metrics(truth, truth) | task.metrics(truth, truth, torch.zeros_like(within))
