"""The command starts anew once, as the same process, with what the allocator reads at the start alone."""

import os
import subprocess
import sys

import pytest

from cflowtool.cli import start

SHOW = (
    "import os, sys; from cflowtool.cli import start; print(os.getpid(), flush=True); "
    "start.keep_small_blocks(); print(os.getpid(), os.environ.get(start.TUNABLES), sys.argv[1:], sys.flags.utf8_mode)"
)


def started(environment: dict[str, str]) -> list[str]:
    inherited = {name: value for name, value in os.environ.items() if name != start.TUNABLES}
    command = [sys.executable, "-X", "utf8", "-c", SHOW, "an argument", "-o", "ü"]
    run = subprocess.run(command, env=inherited | environment, capture_output=True, text=True, check=True)
    return run.stdout.splitlines()


@pytest.mark.skipif(not start._on_glibc(), reason="another C library")
def test_it_is_the_same_process_with_the_same_arguments() -> None:
    first, again, shown = started({})
    number, told, *rest = shown.split(" ", 2)
    assert first == again == number and told == start.AT_HAND
    assert rest == ["['an argument', '-o', 'ü'] 1"]


def test_what_the_user_told_the_allocator_stays() -> None:
    first, shown = started({start.TUNABLES: "glibc.malloc.check=0"})
    assert shown.split()[:2] == [first, "glibc.malloc.check=0"]


def test_where_it_cannot_start_anew_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(start.TUNABLES, raising=False)
    monkeypatch.setattr(start, "_on_glibc", lambda: True)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    start.keep_small_blocks()
    assert start.TUNABLES not in os.environ
