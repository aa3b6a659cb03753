"""Diversity and faithfulness-weighted variance have closed forms when the distance is the mean squared difference."""

import math

import pytest
import torch
from torch import Tensor

from cflowtool.metrics.diversity import diversity, faithfulness_weighted_variance
from cflowtool.metrics.perceptual import make_distance

SAMPLES = torch.rand(6, 3, 4, 5, generator=torch.Generator().manual_seed(0))
TRUTH = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(1))


def squared(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().mean((1, 2, 3))


def test_diversity_of_the_squared_difference_is_twice_the_unbiased_variance() -> None:
    assert diversity(SAMPLES, squared) == pytest.approx(2 * SAMPLES.var(0).mean().item(), rel=1e-5)


def test_with_an_endless_bandwidth_every_sample_counts() -> None:
    found = faithfulness_weighted_variance(SAMPLES, TRUTH, squared, math.inf)
    assert found == pytest.approx(SAMPLES.var(0, correction=0).mean().item(), rel=1e-5)


def test_the_weights_are_a_gaussian_of_the_closeness_to_the_truth() -> None:
    samples, truth = torch.tensor([0.2, 0.6]).view(2, 1, 1, 1), torch.full((1, 1, 1), 0.3)
    expected = 0.2**2 * (math.exp(-(0.1**2) / (2 * 0.3**2)) + math.exp(-(0.3**2) / (2 * 0.3**2))) / 2
    assert faithfulness_weighted_variance(samples, truth, squared, 0.3) == pytest.approx(expected, rel=1e-5)


def test_variance_grows_with_the_bandwidth_and_vanishes_far_from_the_truth() -> None:
    found = [faithfulness_weighted_variance(SAMPLES, TRUTH, squared, s) for s in (0.15, 0.2, 0.3, 1.0)]
    assert found == sorted(found)
    assert found[0] < found[-1]
    assert faithfulness_weighted_variance(SAMPLES + 10, TRUTH, squared, 0.3) < 1e-100


@pytest.mark.parametrize("name", ["multiscale", "lite0"])
def test_both_ignore_the_order_and_are_zero_for_copies(name: str) -> None:
    distance, order = make_distance(name), torch.tensor([3, 1, 5, 0, 2, 4])
    assert diversity(SAMPLES[order], distance) == pytest.approx(diversity(SAMPLES, distance), rel=1e-4)
    forward, shuffled = (faithfulness_weighted_variance(s, TRUTH, distance, 2.0) for s in (SAMPLES, SAMPLES[order]))
    assert shuffled == pytest.approx(forward, rel=1e-3)
    copies = SAMPLES[:1].repeat(4, 1, 1, 1)
    assert diversity(copies, distance) == 0
    assert faithfulness_weighted_variance(copies, TRUTH, distance, 2.0) == pytest.approx(0, abs=1e-6)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="two or more"):
        diversity(SAMPLES[:1], squared)
    with pytest.raises(ValueError, match="does not fit"):
        faithfulness_weighted_variance(SAMPLES, TRUTH[:1], squared, 0.3)
    with pytest.raises(ValueError, match="does not fit"):
        faithfulness_weighted_variance(SAMPLES, TRUTH, squared, 0.0)
