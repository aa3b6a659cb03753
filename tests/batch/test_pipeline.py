"""Overlapping steps: the results, the order and the errors of one job after the other, and bounded memory."""

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cflowtool.batch import pipeline
from cflowtool.batch.pipeline import HELD, TOGETHER, Stages, overlapped


@dataclass
class Log:
    """What was begun, in order, and how many at once."""

    begun: list[tuple[str, object]] = field(default_factory=list)
    groups: list[list[int]] = field(default_factory=list)


def stages(
    log: Log,
    size: int = 1,
    group: Callable[[int], Hashable | None] = lambda _: None,
    hook: Callable[[str, int], None] = lambda *_: None,
) -> Stages[int, int, int, str]:
    """Return steps that make 2 k of k and then a word, and run the hook in each of them."""

    def step(name: str, k: int) -> None:
        log.begun.append((name, k))
        hook(name, k)

    def read(k: int) -> int:
        step("read", k)
        return k

    def work(some: Sequence[int]) -> list[int]:
        log.groups.append(list(some))
        for k in some:
            step("work", k)
        return [2 * k for k in some]

    def write(double: int) -> str:
        step("write", double // 2)
        return f"={double}"

    return Stages(read, work, write, lambda _: size, group, lambda: log.begun.append(("start", threading.get_ident())))


@given(st.integers(0, 80), st.sampled_from([1, HELD // 3, HELD]), st.integers(1, 5))
@settings(deadline=None)
def test_results_come_in_order_whatever_is_grouped_or_large(count: int, size: int, of: int) -> None:
    log = Log()
    found = list(overlapped(range(count), stages(log, size, lambda k: k // of if k % 7 else None)))
    assert found == [f"={2 * k}" for k in range(count)]
    assert [k for group in log.groups for k in group] == list(range(count))
    for group in log.groups:
        assert len(group) == 1 or (len({k // of for k in group}) == 1 and all(k % 7 for k in group))
        assert len(group) <= TOGETHER
    for name in ("read", "work", "write"):
        assert [k for step, k in log.begun if step == name] == list(range(count))


def test_the_three_steps_run_at_once_and_working_is_set_up_first() -> None:
    log, barrier = Log(), threading.Barrier(3)
    turn = {"read": 2, "work": 1, "write": 0}

    def meet(name: str, k: int) -> None:
        if turn[name] == k:  # reads the third, works on the second and writes the first, or waits for ever
            barrier.wait(20)

    assert len(list(overlapped(range(3), stages(log, hook=meet)))) == 3
    begun = [name for name, _ in log.begun]
    assert begun.index("start") < begun.index("work")
    assert ("start", threading.get_ident()) not in log.begun


def test_what_is_large_is_not_read_before_there_is_room() -> None:
    held, most, lock = 0, 0, threading.Lock()

    def count(name: str, _: int) -> None:
        nonlocal held, most
        with lock:
            held += {"read": 1, "work": 0, "write": -1}[name]
            most = max(most, held)
        time.sleep(0.002)

    list(overlapped(range(12), stages(Log(), HELD, hook=count)))
    assert most == 1


@pytest.mark.parametrize("where", ["read", "work", "write"])
def test_an_error_comes_at_its_jobs_turn_and_nothing_is_begun_after_it(where: str) -> None:
    log = Log()

    def fail(name: str, k: int) -> None:
        if (name, k) == (where, 4):
            raise KeyError(k)

    found = []
    with pytest.raises(KeyError):
        for each in overlapped(range(50), stages(log, hook=fail)):
            found.append(each)
    assert found == ["=0", "=2", "=4", "=6"]
    time.sleep(0.05)
    written = [k for name, k in log.begun if name == "write"]
    assert max(written) == (4 if where == "write" else 3)


def test_a_caller_that_stops_is_not_kept_and_nothing_more_is_begun() -> None:
    log, release = Log(), threading.Event()

    def block(name: str, k: int) -> None:
        if (name, k) == ("work", 5):
            release.wait(20)

    running = overlapped(range(500), stages(log, hook=block))
    assert [next(running) for _ in range(5)] == [f"={2 * k}" for k in range(5)]
    before = time.monotonic()
    running.close()
    assert time.monotonic() - before < 10
    release.set()
    time.sleep(0.05)
    assert max(k for name, k in log.begun if name == "work") <= 5


def test_after_an_interrupt_what_is_about_to_be_written_is_still_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    log, interrupted, original = Log(), threading.Event(), pipeline.wait

    def hold(name: str, k: int) -> None:
        if (name, k) in (("write", 0), ("work", 2)):
            assert interrupted.wait(20)

    def interrupt(futures: Sequence[object], *given: object, **named: object) -> object:
        if ("work", 2) in log.begun and not interrupted.is_set():
            interrupted.set()
            raise KeyboardInterrupt
        return original(futures, 0.01) if named else original(futures, *given)

    monkeypatch.setattr(pipeline, "wait", interrupt)
    found = []
    with pytest.raises(KeyboardInterrupt):
        for each in overlapped(range(50), stages(log, hook=hold)):
            found.append(each)
    assert found == ["=0", "=2"]
