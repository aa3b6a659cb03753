"""A signal inside the block waits for its end, and is lost there only to an error."""

import signal
import threading

import pytest

from cflowtool.deferred import Deferred


class Arrived(Exception):
    """What this test's own handler raises."""


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM])
def number(request: pytest.FixtureRequest):  # type: ignore[no-untyped-def]
    def raise_it(number: int, frame: object) -> None:
        raise Arrived

    before = signal.signal(request.param, raise_it)
    yield request.param
    signal.signal(request.param, before)


def test_a_signal_waits_until_the_end_of_the_block(number: signal.Signals) -> None:
    done = []
    with pytest.raises(Arrived), Deferred() as deferred:
        signal.raise_signal(number)
        done.append(deferred.number)
    assert done == [number]
    with pytest.raises(Arrived):
        signal.raise_signal(number)


def test_an_error_goes_before_the_signal_and_the_handler_comes_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(ZeroDivisionError), Deferred():
        signal.raise_signal(number)
        raise ZeroDivisionError
    assert signal.getsignal(number) is before


def test_in_another_thread_it_leaves_signals_alone() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with Deferred():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
