"""The noise of x is what its plane says, and a user's noise is estimated."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cflowtool.images import quantise
from cflowtool.tasks.denoise import Denoise, estimate_sigma


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


@pytest.mark.parametrize("sigma", [0.0, 5.0, 15.0, 40.0])
def test_the_estimate_is_near_the_truth_of_a_smooth_image(sigma: float) -> None:
    x, _ = Denoise(sigma).pair(smooth(), torch.Generator().manual_seed(2))
    assert estimate_sigma(x[:, :3]) == pytest.approx(sigma, rel=0.05, abs=1)


def test_the_estimate_does_not_count_clipped_regions() -> None:
    x, _ = Denoise(20).pair(smooth(), torch.Generator().manual_seed(2))
    whole = estimate_sigma(x[:, :3])
    x[:, :3, :64] = 255.5 / 256
    assert estimate_sigma(x[:, :3]) == pytest.approx(whole, rel=0.1)
    assert estimate_sigma(torch.ones(1, 3, 8, 8)) == 0 == estimate_sigma(torch.rand(1, 3, 2, 8))


def test_a_known_sigma_is_taken_else_the_estimate_inside_the_range() -> None:
    noisy = Denoise(30).pair(smooth(), torch.Generator().manual_seed(2))[0][:, :3]
    task = Denoise([5, 50])
    assert sigma_of(task.condition(noisy)).item() == pytest.approx(30, rel=0.05)
    assert sigma_of(Denoise([5, 10]).condition(noisy)).item() == pytest.approx(10)
    task.known_sigma = 12.0
    assert sigma_of(task.condition(noisy)).item() == pytest.approx(12)
    assert sigma_of(Denoise(25).condition(noisy)).item() == pytest.approx(25)


def test_the_baseline_takes_noise_away_and_knows_how_much() -> None:
    task, truth = Denoise([5, 40]), smooth(48, batch=2)
    x, _ = task.pair(truth, torch.Generator().manual_seed(3))
    base = task.baseline(x)
    assert (base - truth).square().mean() < 0.3 * (x[:, :3] - truth).square().mean()
    assert torch.equal(base[1:], task.baseline(x[1:]))


def test_what_a_result_removed_is_the_noise() -> None:
    x, y = Denoise(25).pair(smooth())
    assert 256 * Denoise(25).degraded_error(x, y).std().item() == pytest.approx(25, rel=0.05)
