"""Allocator, processors and threads of the process."""

import os
import signal
import subprocess
import sys
import threading

import pytest
import torch

from cflowtool.cli import process


def test_buffers_are_kept_on_glibc() -> None:
    names = getattr(os, "confstr_names", {})
    glibc = "CS_GNU_LIBC_VERSION" in names and bool(os.confstr("CS_GNU_LIBC_VERSION"))
    assert process.keep_buffers() == glibc


def test_no_more_threads_than_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(process, "usable_cpus", lambda: 1)
    try:
        process.set_up_torch()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_deterministic_turns_onednn_off() -> None:
    before = torch.backends.mkldnn.enabled
    try:
        process.set_up_torch(deterministic=True)
        assert not torch.backends.mkldnn.enabled and torch.are_deterministic_algorithms_enabled()
    finally:
        torch.backends.mkldnn.set_flags(before)
        torch.set_deterministic_debug_mode("default")
    assert 1 <= process.usable_cpus() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, process.Terminated)]
)
def test_the_first_signal_unwinds_its_echo_is_nothing_and_the_second_ends_it(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals, error: type[BaseException]
) -> None:
    now, left = [100.0], []
    monkeypatch.setattr(process.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(process, "leave", left.append)
    handler = process.Interruption()
    with pytest.raises(error):
        handler(number, None)
    handler(number, None)
    assert left == []
    now[0] += 2 * process.ECHO
    handler(signal.SIGTERM, None)
    assert left == [143]


def test_work_aside_gives_its_result_or_its_error_and_keeps_the_number_of_threads() -> None:
    here = threading.get_ident()
    found = process.aside(lambda: (threading.get_ident(), torch.get_num_threads()))
    assert found[0] != here and found[1] == torch.get_num_threads()
    with pytest.raises(ZeroDivisionError):
        process.aside(lambda: 1 / 0)


@pytest.mark.parametrize("loaded", ["torch", "json"])
def test_the_end_comes_after_all_that_waits_for_it(loaded: str) -> None:
    code = (
        f"import atexit, sys, types; sys.modules.setdefault('{loaded}', types.ModuleType('{loaded}'))\n"
        "from cflowtool.cli import process\n"
        "atexit.register(lambda: print('last'))\n"
        "print('first'); process.end(3)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "first\nlast\n")
