"""Every image of a batch has a randomness of its own."""

import pytest
import torch

from cflowtool.tasks.chance import generators, interval, uniform


def draws(count: int, seed: int | None, start: int = 0) -> list[float]:
    images = torch.arange(4.0).view(4, 1, 1, 1)[start : start + count]
    source = None if seed is None else torch.Generator().manual_seed(seed)
    return [float(torch.rand((), generator=own)) for own in generators(images, source)]


def test_a_generator_decides_and_a_batch_begins_like_a_smaller_one() -> None:
    assert draws(4, 1)[:2] == draws(2, 1) != draws(2, 2) and len(set(draws(4, 1))) == 4
    assert draws(1, 1, start=2) == draws(1, 1)


def test_without_one_an_image_decides_for_itself() -> None:
    assert draws(4, None)[2:] == draws(2, None, start=2) and len(set(draws(4, None))) == 4


def test_uniform_numbers_fill_their_interval() -> None:
    generator = torch.Generator().manual_seed(0)
    found = torch.tensor([uniform(-2, 3, generator) for _ in range(500)])
    assert found.min() >= -2 and found.max() < 3 and found.mean().item() == pytest.approx(0.5, abs=0.2)
    assert uniform(7, 7, generator) == 7


@pytest.mark.parametrize(("value", "pair"), [(3, (3, 3)), (0.5, (0.5, 0.5)), ([1, 4], (1, 4)), ((2, 2), (2, 2))])
def test_an_option_is_a_number_or_two(value: object, pair: tuple[float, float]) -> None:
    assert interval("it", value, 0, 5) == pair


@pytest.mark.parametrize("value", [-1, 6, [1], [1, 2, 3], [4, 1], "3", None, True, [0, float("nan")]])
def test_whatever_else_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="it is a number"):
        interval("it", value, 0, 5)
