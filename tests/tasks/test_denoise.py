"""The noise of x is what its plane says, and a user's noise is estimated."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cflowtool.errors import UsageError
from cflowtool.images import quantise
from cflowtool.tasks.denoise import Denoise
from cflowtool.tasks.noise import is_grey


def smooth(side: int = 96, batch: int = 1) -> Tensor:
    coarse = torch.rand(batch, 3, 6, 6, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.3
    return quantise(F.interpolate(coarse, size=(side, side), mode="bicubic"))


def sigma_of(x: Tensor) -> Tensor:
    return 50 * x[:, 3].mean((1, 2))


@pytest.mark.parametrize("sigma", [0, 5, 25])
def test_noise_has_the_strength_that_its_plane_says_and_is_8_bit(sigma: float) -> None:
    truth = smooth()
    x, y = Denoise(sigma).pair(truth, torch.Generator().manual_seed(1))
    noise = 256 * (x[:, :3] - truth)
    assert torch.equal(y, truth) and torch.equal(x[:, :3], quantise(x[:, :3]))
    assert sigma_of(x).item() == pytest.approx(sigma)
    assert noise.std().item() == pytest.approx((sigma**2 + 1 / 12) ** 0.5 if sigma else 0, rel=0.03)
    assert abs(noise.mean().item()) < 0.02 * sigma + 1e-6


def test_noise_is_clipped_as_in_a_file() -> None:
    x, _ = Denoise(50).pair(torch.full((1, 3, 32, 32), 0.5 / 256))
    assert x[:, :3].min() == 0.5 / 256 and (x[:, :3] == 0.5 / 256).double().mean().item() == pytest.approx(
        0.5, abs=0.05
    )


def test_each_image_of_a_batch_gets_a_sigma_from_the_range_and_noise_of_its_own() -> None:
    truth = smooth(32).expand(64, -1, -1, -1)
    x, _ = Denoise([10, 30]).pair(truth, torch.Generator().manual_seed(0))
    sigma = sigma_of(x)
    assert 10 <= sigma.min() < 13 and 27 < sigma.max() <= 30 and sigma.unique().numel() == 64
    measured = 256 * (x[:, :3] - truth).flatten(1).std(1)
    assert (measured / sigma - 1).abs().max() < 0.1


def test_a_known_sigma_is_taken_else_the_estimate_inside_the_range() -> None:
    noisy = Denoise(30).pair(smooth(), torch.Generator().manual_seed(2))[0][:, :3]
    task = Denoise([5, 50])
    assert sigma_of(task.condition(noisy)).item() == pytest.approx(30, rel=0.05)
    assert sigma_of(Denoise([5, 10]).condition(noisy)).item() == pytest.approx(10)
    task.adapt(sigma=12)
    assert sigma_of(task.condition(noisy)).item() == pytest.approx(12)
    assert sigma_of(Denoise(25).condition(noisy)).item() == pytest.approx(25)


def test_what_a_user_is_given_has_the_noise_that_was_asked_for() -> None:
    task, truth = Denoise([5, 50]), smooth()
    task.adapt(sigma=10, holes=None)
    image, mask, right = task.given(truth)
    assert torch.equal(task.condition(image, mask), task.pair(truth)[0]) and torch.equal(right, truth)
    assert 256 * (image - truth).std().item() == pytest.approx(10, rel=0.05)
    for wrong in ({"sigma": -1}, {"sigma": "strong"}, {"sigma": True}, {"sigma": 1e9}, {"holes": "any"}):
        with pytest.raises(UsageError):
            task.adapt(**wrong)  # type: ignore[arg-type]


def test_the_baseline_takes_noise_away_and_knows_how_much() -> None:
    task, truth = Denoise([5, 40]), smooth(48, batch=2)
    x, _ = task.pair(truth, torch.Generator().manual_seed(3))
    base = task.baseline(x)
    assert (base - truth).square().mean() < 0.3 * (x[:, :3] - truth).square().mean()
    assert torch.equal(base[1:], task.baseline(x[1:]))


def test_what_a_result_removed_is_the_noise() -> None:
    x, y = Denoise(25).pair(smooth())
    assert 256 * Denoise(25).degraded_error(x, y).std().item() == pytest.approx(25, rel=0.05)


def grey(side: int = 96) -> Tensor:
    return smooth(side)[:, :1].expand(-1, 3, -1, -1)


def test_the_noise_of_a_grey_image_is_grey_and_its_plane_is_that_of_its_direction() -> None:
    truth = torch.cat((grey(), smooth()))
    x, y = Denoise(20).pair(truth, torch.Generator().manual_seed(0))
    assert torch.equal(y, truth) and is_grey(x[:, :3]).tolist() == [True, False]
    assert sigma_of(x).tolist() == pytest.approx([20 * math.sqrt(3), 20])
    along = 256 * (x[:, :3] - truth).sum(1) / math.sqrt(3)
    assert along.flatten(1).std(1).tolist() == pytest.approx(sigma_of(x).tolist(), rel=0.05)


@pytest.mark.parametrize("known", [None, 20.0])
def test_a_user_of_a_grey_image_gets_the_x_of_training(known: float | None) -> None:
    task = Denoise([5, 50])
    task.adapt(sigma=known)
    x, _ = Denoise(20).pair(grey(300), torch.Generator().manual_seed(0))
    assert sigma_of(task.condition(x[:, :3])).item() == pytest.approx(sigma_of(x).item(), rel=0.05)


def test_a_share_of_training_crops_is_made_grey_with_the_luma_they_had() -> None:
    truth = smooth(16).expand(200, -1, -1, -1)
    x, y = Denoise(grey=0.25).pair(truth, torch.Generator().manual_seed(0))
    made = is_grey(y)
    assert made.double().mean().item() == pytest.approx(0.25, abs=0.1) and torch.equal(is_grey(x[:, :3]), made)
    assert torch.equal(y[~made], truth[~made])
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    assert (256 * (y[made][:, 0] - (truth[0] * weights).sum(0))).abs().max() <= 0.501
    plain = Denoise().pair(truth, torch.Generator().manual_seed(0))
    assert torch.equal(plain[1], truth) and torch.equal(Denoise(grey=1.0).pair(truth[:2])[1], truth[:2])


@pytest.mark.parametrize("image", [smooth(48), grey(48)], ids=["colour", "grey"])
def test_every_method_that_is_installed_takes_noise_away(image: Tensor) -> None:
    task = Denoise([5, 40])
    x, _ = task.pair(image, torch.Generator().manual_seed(3))
    found = task.baselines(x[:, :3], x)
    assert next(iter(found)) == task.baseline_name and torch.equal(found[task.baseline_name], task.baseline(x))
    for result in found.values():
        assert (result - image).square().mean() < 0.5 * (x[:, :3] - image).square().mean()
        assert torch.equal(result, quantise(result))


def test_bm3d_takes_images_of_any_size_and_one_colour() -> None:
    pytest.importorskip("bm3d")
    blue = torch.tensor([0.1, 0.2, 0.7])[None, :, None, None]
    for image in (torch.full((1, 3, 1, 1), 0.5), blue.expand(-1, -1, 8, 8)):
        found = Denoise(25).baselines(image, Denoise(25).condition(image))["bm3d"]
        assert found.shape == image.shape and torch.allclose(found, image, atol=1.5 / 256)
