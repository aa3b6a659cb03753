"""Working ahead changes when things are made, never what is made."""

import threading

import pytest

from cflowtool.prefetch import Prefetch, one_ahead


@pytest.mark.parametrize("steps", [range(6), [3, 4, 5], [0, 1, 7, 8, 2], [0, 0, 1, 1]])
def test_what_is_taken_is_what_is_made_in_any_order(steps: list[int]) -> None:
    ahead = Prefetch(lambda step: step * step)
    assert [ahead.take(step) for step in steps] == [step * step for step in steps]


def test_the_next_step_is_made_while_this_one_is_in_use() -> None:
    made, threads = threading.Event(), set()

    def make(step: int) -> int:
        threads.add(threading.current_thread())
        if step == 1:
            made.set()
        return step

    ahead = Prefetch(make)
    ahead.take(0)
    assert made.wait(20)
    assert ahead.take(1) == 1 and len(threads) == 2


def test_no_step_is_made_twice_in_a_row_of_steps() -> None:
    count: list[int] = []
    ahead = Prefetch(lambda step: count.append(step))
    for step in range(5):
        ahead.take(step)
    ahead.pool.shutdown()
    assert sorted(count) == [0, 1, 2, 3, 4, 5]


def test_an_error_comes_with_its_own_step() -> None:
    def make(step: int) -> int:
        return 1 // (step - 2)

    ahead = Prefetch(make)
    assert [ahead.take(0), ahead.take(1)] == [-1, -1]
    with pytest.raises(ZeroDivisionError):
        ahead.take(2)
    assert ahead.take(3) == 1


@pytest.mark.parametrize("count", range(4))
def test_one_ahead_each_item_comes_when_the_next_is_made(count: int) -> None:
    made: list[int] = []
    seen = [(item, len(made)) for item in one_ahead(made.append(k) or k for k in range(count))]
    assert seen == [(k, min(k + 2, count)) for k in range(count)]
