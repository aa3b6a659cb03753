"""Native noise becomes one line."""

import os
import threading

import pytest

from cflowtool.images.quiet import captured_stderr


def test_a_thousand_lines_become_one(capfd: pytest.CaptureFixture[str]) -> None:
    with captured_stderr() as noise:
        os.write(2, b"bad \x1b[31m strip\n" * 1000)
    os.write(2, b"after\n")
    assert noise.line == r"bad \x1b[31m strip (and more of the kind)"
    assert capfd.readouterr().err == "after\n"


def test_silence_is_empty_and_nesting_works() -> None:
    with captured_stderr() as outer:
        os.write(2, b"out\n")
        with captured_stderr() as inner:
            pass
    assert (outer.line, inner.line) == ("out", "")


def test_the_descriptor_comes_back_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), captured_stderr():
        raise KeyError
    os.write(2, b"here\n")
    assert capfd.readouterr().err == "here\n"


def test_threads_do_not_take_each_others_lines() -> None:
    lines: dict[int, str] = {}

    def work(k: int) -> None:
        with captured_stderr() as noise:
            os.write(2, f"thread {k}\n".encode())
        lines[k] = noise.line

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lines == {k: f"thread {k}" for k in range(8)}
