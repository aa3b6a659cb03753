"""Coverage is exact where it must be, and explosions are counted by the pixel."""

import pytest
import torch

from cflowtool.metrics import coverage, exploded


def draws(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n + 1, 3, 100, 100, generator=torch.Generator().manual_seed(seed)) ** 3


@pytest.mark.parametrize(("n", "level"), [(3, 0.5), (4, 0.37), (10, 0.5), (10, 0.8), (19, 0.9), (25, 0.9)])
def test_exchangeable_truth_is_covered_at_the_level(n: int, level: float) -> None:
    values = draws(n)
    sampling_error = (level * (1 - level) / values[0].numel()) ** 0.5
    assert coverage(values[1:], values[0], level) == pytest.approx(level, abs=4 * sampling_error)


def test_averaged_over_which_of_them_is_true_coverage_is_exact() -> None:
    for n, level in [(5, 0.6), (9, 0.31), (19, 0.9)]:
        values = draws(n)[..., :4, :4]
        shares = [coverage(torch.cat([values[:k], values[k + 1 :]]), values[k], level) for k in range(n + 1)]
        assert sum(shares) / (n + 1) == pytest.approx(level, abs=1e-9)


def test_equal_values_are_covered_at_the_level_too() -> None:
    values = torch.zeros(11, 1, 2, 2)
    assert coverage(values[1:], values[0], 0.8) == pytest.approx(0.8)


def test_a_truth_outside_of_all_samples_is_never_covered() -> None:
    values = draws(19)
    assert coverage(values[1:], torch.full_like(values[0], 1e6), 0.9) == pytest.approx(0, abs=1e-9)
    assert coverage(values[1:], values[1:].median(0).values, 0.5) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("n", "level"), [(10, 0.9), (1, 0.1), (10, 0.0), (0, 0.5)])
def test_levels_that_so_few_samples_cannot_resolve_are_refused(n: int, level: float) -> None:
    with pytest.raises(ValueError, match="samples"):
        coverage(draws(n)[1:], draws(n)[0], level)


def test_a_pixel_explodes_by_any_channel_and_once() -> None:
    base = torch.full((3, 2, 2), 0.5)
    samples = base.repeat(5, 1, 1, 1)
    assert exploded(samples, base) == 0
    samples[0, 1, 0, 0] += 0.46
    samples[1, :, 1, 1] -= 0.46
    samples[2, 0, 0, 1] = torch.nan
    samples[3, 0, 0, 1] += 0.44
    assert exploded(samples, base) == pytest.approx(3 / 20)
    assert exploded(samples, base, threshold=0.5) == pytest.approx(1 / 20)


def test_shapes_and_nan_are_checked() -> None:
    with pytest.raises(ValueError, match="wanted"):
        exploded(torch.zeros(2, 3, 4, 4), torch.zeros(3, 4, 5))
    with pytest.raises(ValueError, match="NaN"):
        exploded(torch.zeros(2, 3, 4, 4), torch.full((3, 4, 4), torch.nan))
