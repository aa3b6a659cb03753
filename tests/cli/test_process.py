"""Allocator, processors and threads of the process."""

import os

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
