"""Masks are kept exactly, in as many channels as the model wants."""

import pytest
import torch

from cflowtool.tasks.segment import Segment


def truth() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(1, 1, 32, 40)
    mask[..., 8:24, 10:30] = 1
    return torch.cat((0.2 + 0.5 * mask + 0.1 * torch.rand(1, 3, 32, 40, generator=generator), mask), 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sample_is_rounded_by_the_mean_of_its_channels(channels: int) -> None:
    task = Segment(channels)
    x, y = task.pair(truth())
    assert y.shape[1] == channels and torch.equal(task.assemble(x, y), truth()[:, 3:])
    noise = 0.3 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(task.assemble(x, y + noise.clamp(-0.49, 0.49)), truth()[:, 3:])


def test_the_metric_is_intersection_over_union() -> None:
    task, mask = Segment(), truth()[:, 3:]
    half = mask.clone()
    half[..., :20] = 0
    assert task.metrics(half, mask)["iou"] == pytest.approx(0.5)
    assert task.metrics(0.6 * half + 0.3, mask)["iou"] == pytest.approx(0.5)
    assert task.metrics(torch.zeros_like(mask), mask)["iou"] == 0


@pytest.mark.parametrize("light", [False, True])
def test_the_baseline_finds_what_differs_from_the_border(light: bool) -> None:
    both = truth()
    x = both[:, :3] if light else 1 - both[:, :3]
    assert torch.equal(Segment().baseline(x.expand(2, -1, -1, -1)), both[:, 3:].expand(2, -1, -1, -1))


def test_no_mask_contradicts_a_photograph() -> None:
    x, _ = Segment().pair(truth())
    assert (Segment().degraded_error(x, torch.rand(2, 1, 32, 40)) == 0).all()


def test_photographs_are_resized_whole_where_the_task_has_a_side() -> None:
    photo = (truth()[0] * 255).to(torch.uint8)
    assert torch.equal(Segment().prepare(photo), photo)
    small = Segment(side=8).prepare(photo)
    assert small.shape == (4, 8, 8) and set(small[3].unique().tolist()) == {0, 255}
    assert torch.equal(small[3] > 0, torch.nn.functional.adaptive_avg_pool2d(truth()[:, 3], (8, 8))[0] > 0.5)
    means = photo[:3].float().mean((1, 2)), small[:3].float().mean((1, 2))
    assert torch.allclose(*means, atol=1)
