"""How much memory there is, and that running out of it is known for what it is."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cflowtool import memory

CPU = torch.device("cpu")
GIB = 2**30


def files(folder: Path, **contents: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


def test_there_is_memory_and_no_more_than_the_machine_has() -> None:
    found = memory.available(CPU)
    assert found is None or 0 < found < 2**50


def test_of_nested_control_groups_each_counts_and_file_cache_is_free(tmp_path: Path) -> None:
    files(tmp_path, memory__max=3 * GIB, memory__current=GIB, memory__stat="anon 5\ninactive_file 1000")
    assert list(memory._left(tmp_path, "memory.max", "memory.current", "inactive_file")) == [2 * GIB + 1000]
    files(tmp_path, memory__max="max")
    assert list(memory._left(tmp_path, "memory.max", "memory.current", "inactive_file")) == []
    files(tmp_path / "memory", memory__limit_in_bytes=GIB, memory__usage_in_bytes=GIB // 4)
    assert GIB - GIB // 4 in list(memory._of_groups(tmp_path))


def test_a_limit_of_the_address_space_is_seen_and_less_is_left_the_more_is_used() -> None:
    pytest.importorskip("resource")
    program = (
        "import resource, torch, numpy as np; from cflowtool.memory import available; cpu = torch.device('cpu');"
        "limit = 1024 * int(open('/proc/self/statm').read().split()[0]) * 4 + 2**30;"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit)); first = available(cpu);"
        "kept = np.ones(2**27, np.uint8); second = available(cpu);"
        "print(first <= 2**30 + 2**20, 2**26 < first - second < 2**28)"
    )
    if not Path("/proc/self/statm").exists():
        pytest.skip("no /proc here")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]


def test_running_out_is_known_in_all_its_forms_and_other_errors_are_not() -> None:
    with pytest.raises(RuntimeError) as of_torch:
        torch.empty(2**60, dtype=torch.uint8)
    with pytest.raises(MemoryError) as of_numpy:
        np.empty(2**60, np.uint8)
    assert memory.ran_out(of_torch.value) and memory.ran_out(of_numpy.value)
    assert memory.ran_out(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert not memory.ran_out(RuntimeError("shapes differ")) and not memory.ran_out(ValueError("channels"))


def test_the_peak_does_not_fall_and_giving_back_is_safe() -> None:
    before = float(memory.peak().split()[0])
    kept = np.ones(2**26, np.uint8)
    memory.give_back()
    assert float(memory.peak().split()[0]) >= before > 0 and kept[0] == 1
