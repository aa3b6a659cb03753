"""What is known stays bit for bit, whatever is filled in."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cflowtool.errors import InputError, UsageError
from cflowtool.images import quantise
from cflowtool.tasks.holes import HOLES
from cflowtool.tasks.inpaint import FILLS, Inpaint, biharmonic


def smooth(side: int = 48, batch: int = 1) -> Tensor:
    coarse = torch.rand(batch, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    return quantise(F.interpolate(coarse, size=(side, side), mode="bilinear"))


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("mask", HOLES)
def test_known_pixels_are_the_inputs_and_filled_ones_the_samples(mask: str, fill: str) -> None:
    task, truth = Inpaint(mask, fill), smooth(batch=3)
    x, y = task.pair(truth, torch.Generator().manual_seed(0))
    hole = x[:, 3:] == 1
    assert torch.equal(hole, x[:, 3:] != 0) and torch.equal(y, truth) and 0 < hole.double().mean() <= 0.25
    assert fill != "grey" or (x[:, :3].masked_select(hole) == 0.5).all()
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


@pytest.mark.parametrize(
    ("mask", "said"),
    [(torch.ones(1, 1, 48, 47), "47 x 48"), (torch.zeros(1, 1, 48, 48), "empty"), (torch.ones(1, 1, 48, 48), "covers")],
)
def test_a_mask_that_makes_no_sense_is_refused_with_a_hint(mask: Tensor, said: str) -> None:
    with pytest.raises(InputError, match=said) as raised:
        Inpaint().condition(smooth(), mask)
    assert raised.value.hint


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("levels", [2**8, 2**16])
def test_known_pixels_stay_bit_for_bit_at_any_depth(levels: int, fill: str) -> None:
    values = torch.randint(levels, (1, 3, 48, 40), generator=torch.Generator().manual_seed(0))
    image, mask = (values + 0.5) / levels, torch.zeros(1, 1, 48, 40)
    mask[..., 10:30, 5:33] = 1
    task = Inpaint(fill=fill)
    x = task.condition(image, mask)
    result = (task.assemble(x, torch.rand(4, 3, 48, 40)) * levels).floor().to(values)
    known = task.known(x)
    assert torch.equal(known, mask[0, 0] == 0) and torch.equal(known, ~task.within(x, image))
    assert torch.equal(result[..., known], values.expand(4, -1, -1, -1)[..., known])
    assert not torch.equal(result[..., ~known], values.expand(4, -1, -1, -1)[..., ~known])


@pytest.mark.parametrize("fill", FILLS)
def test_what_a_user_is_given_holds_nothing_of_the_truth_in_the_hole(fill: str) -> None:
    task, truth = Inpaint("centre", fill), smooth()
    image, mask, right = task.given(truth)
    assert mask is not None and torch.equal(right, truth)
    other = torch.where(mask > 0.5, 1 - truth, truth)
    assert torch.equal(task.given(other)[0], image) and torch.equal(task.condition(image, mask), task.pair(truth)[0])


def test_a_candidate_is_judged_by_what_it_fills_in_alone() -> None:
    task, truth = Inpaint("centre"), smooth()
    x, _ = task.pair(truth)
    elsewhere = torch.where(task.within(x, truth), truth, 1 - truth)
    assert torch.equal(task.target(x[:, :3], x, elsewhere), truth)
    assert torch.equal(task.finish(x[:, :3], x, task.target(x[:, :3], x, elsewhere)), truth)


@pytest.mark.parametrize("fill", FILLS)
def test_the_baselines_fill_a_smooth_image_and_leave_the_rest(fill: str) -> None:
    task, truth = Inpaint("strokes", fill), smooth()
    x, _ = task.pair(truth, torch.Generator().manual_seed(1))
    found, hole = task.baselines(x[:, :3], x), x[:, 3:] > 0.5
    assert {"telea", "navier-stokes"} <= found.keys() and torch.equal(found["telea"], task.baseline(x))
    nothing = (truth - 0.5).masked_select(hole).abs().mean()
    for name, filled in found.items():
        assert torch.equal(filled.masked_select(~hole), truth.masked_select(~hole)), name
        assert (filled - truth).masked_select(hole).abs().mean() < 0.4 * nothing, name


def test_the_biharmonic_baseline_continues_a_plane_and_knows_nothing_of_the_guess() -> None:
    pytest.importorskip("skimage")
    rows, columns = torch.meshgrid(torch.linspace(0, 1, 24), torch.linspace(0, 1, 32), indexing="ij")
    image, mask = torch.stack((rows, columns, 0.3 * rows + 0.5))[None], torch.zeros(1, 1, 24, 32)
    mask[..., 8:16, 9:20] = 1
    grey, pyramid = (biharmonic(Inpaint(fill=fill).condition(image, mask)) for fill in ("grey", "pyramid"))
    assert (grey - image).abs().max() < 1e-4 and torch.allclose(grey, pyramid, rtol=0, atol=1e-6)


def test_the_metric_of_the_hole_is_about_the_hole_alone() -> None:
    task, truth = Inpaint("centre"), smooth()
    x, _ = task.pair(truth)
    within = task.within(x, truth)
    outside = torch.where(within, truth, 1 - truth)
    assert task.metrics(outside, truth, within)["psnr_hole"] == 100 > task.metrics(outside, truth, within)["psnr"]
    assert "psnr_hole" not in task.metrics(truth, truth) | task.metrics(truth, truth, torch.zeros_like(within))


def test_another_kind_of_holes_can_be_asked_for() -> None:
    task, truth = Inpaint(), smooth(64)
    task.adapt(holes="centre", sigma=None)
    assert task.pair(truth)[0][0, 3].mean() == 1 / 4
    for wrong in ({"holes": "round"}, {"sigma": 3}):
        with pytest.raises(UsageError):
            task.adapt(**wrong)
