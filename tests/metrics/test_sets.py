"""KID is its definition, FID its closed form, and both grow with what is done to the images."""

import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cflowtool.errors import UsageError
from cflowtool.metrics.sets import fid, fid_lite0, kid, kid_lite0, set_features


def features(count: int, dims: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(count, dims, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def whitened(count: int, dims: int) -> Tensor:
    x = features(count, dims)
    x = x - x.mean(0)
    return x @ torch.linalg.inv(torch.linalg.cholesky(x.T.cov())).T


def images(seed: int) -> Tensor:
    coarse = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, (32, 32), mode="bilinear")


def noisy(clean: Tensor, level: float) -> Tensor:
    grain = torch.randn(clean.shape, generator=torch.Generator().manual_seed(7))
    return (clean + level * grain).clamp(0, 1)


def test_kid_is_the_unbiased_squared_mmd_of_the_cubic_kernel() -> None:
    x, y = features(7), features(7, seed=1) + 1

    def kernel(a: Tensor, b: Tensor) -> float:
        return float((a @ b / 3 + 1) ** 3)

    within = [kernel(s[i], s[j]) / 42 for s in (x, y) for i in range(7) for j in range(7) if i != j]
    between = [kernel(a, b) / 49 for a in x for b in y]
    mean, deviation = kid(x, y)
    assert mean == pytest.approx(sum(within) - 2 * sum(between), rel=1e-9)
    assert deviation == 0


def test_kid_of_one_distribution_is_zero_on_average() -> None:
    found = torch.tensor([kid(features(20, seed=2 * k), features(20, seed=2 * k + 1))[0] for k in range(40)])
    assert found.min() < 0 < found.max()
    assert abs(found.mean()) < 4 * found.std() / 40**0.5


def test_kid_of_unequal_sets_depends_on_its_seed_alone() -> None:
    x, y = features(30), features(9, seed=1) + 1
    state = torch.random.get_rng_state()
    first = kid(x, y, subsets=5)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(1)
    assert kid(x, y, subsets=5) == first
    assert kid(x, y, subsets=5, seed=1) != first
    assert first[1] > 0


def test_fid_of_known_gaussians_has_its_closed_form() -> None:
    x, shift, scale = whitened(50, 4), torch.tensor([1.0, -2, 0, 0.5]), torch.tensor([1.0, 0.5, 3, 2])
    expected = shift.square().sum() + (scale - 1).square().sum()
    assert fid(x, x * scale + shift) == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("distance", [fid, lambda a, b: kid(a, b)[0]])
def test_both_are_symmetric_and_not_above_zero_for_a_set_and_itself(
    distance: Callable[[Tensor, Tensor], float],
) -> None:
    x, y = features(25), 2 * features(25, seed=1) + 1
    assert distance(y, x) == pytest.approx(distance(x, y), rel=1e-6)
    assert distance(x, x) < 1e-6 < distance(x, y)


def test_on_images_both_grow_with_the_distortion() -> None:
    clean = images(0)
    assert torch.allclose(set_features([clean[:2], clean[2:]]), set_features([clean]), atol=1e-4)
    kids = [kid_lite0([clean], [noisy(clean, level)])[0] for level in (0.0, 0.02, 0.05)]
    assert kids == sorted(kids)
    assert kids[0] < 0 < kids[-1]
    assert fid_lite0([clean], [clean]) == pytest.approx(0, abs=1e-2)
    assert fid_lite0([clean], [noisy(clean, 0.05)]) > 10


def test_a_missing_extra_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchmetrics.image.kid", None)
    for measure in (fid, kid):
        with pytest.raises(UsageError, match="extra perceptual") as caught:
            measure(features(3), features(3))
        assert caught.value.hint == "pip install 'cflowtool[perceptual]'"


def test_too_few_or_unlike_features_are_refused() -> None:
    for x, y in [(features(1), features(3)), (features(3, 2), features(3)), (features(3)[0], features(3))]:
        with pytest.raises(ValueError, match="two or more"):
            fid(x, y)
        with pytest.raises(ValueError, match="two or more"):
            kid(x, y)
