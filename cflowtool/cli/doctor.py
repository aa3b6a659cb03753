"""cflow doctor."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import typer

from cflowtool import __version__
from cflowtool.cli import console, process
from cflowtool.cli.options import Debug, Json
from cflowtool.errors import ExitCode, escape

LIBRARIES = ("torch", "numpy", "opencv-python", "pillow", "safetensors", "pydantic", "typer", "rich", "accelerate")


def doctor(as_json: Json = False, debug: Debug = False) -> None:
    """Say what this installation has: versions, devices, threads, memory, and whether the bundled weights are whole.

    Ends with exit code 3 when there are no bundled weights or one of them is refused.
    """
    process.set_up_torch()
    found = {"cflow": __version__, "python": platform.python_version(), **_versions(), **_machine(), **_space()}
    found["weights"] = _weights()
    if as_json:
        console.emit(found)
    else:
        _show(found)
    if not found["weights"] or any(found["weights"].values()):
        raise typer.Exit(ExitCode.WEIGHTS)


def _versions() -> dict[str, str]:
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def _machine() -> dict[str, Any]:
    import torch

    devices = ["cpu"] + [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    devices += ["mps"] if torch.backends.mps.is_available() else []
    capability = torch.backends.cpu.get_cpu_capability()
    flags = _text("/proc/cpuinfo")
    native = [flag for flag in ("avx512_bf16", "amx_bf16") if flag in flags]
    about = {"devices": devices, "threads": torch.get_num_threads(), "usable processors": process.usable_cpus()}
    return {**about, "cpu capability": capability, "native bf16": native}


def _space() -> dict[str, float]:
    space = {"free disk GiB": round(shutil.disk_usage(Path.cwd()).free / 2**30, 1)}
    with contextlib.suppress(ValueError, OSError, AttributeError):
        pages = os.sysconf("SC_AVPHYS_PAGES")
        space["free memory GiB"] = round(pages * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    for line in _text("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            space["free memory GiB"] = round(int(line.split()[1]) / 2**20, 1)
    return space


def _text(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "replace")
    except OSError:
        return ""


def _weights() -> dict[str, list[str]]:
    from cflowtool import weights

    return {name: weights.verify(path).problems for name, path in weights.registry().items()}


def _show(found: dict[str, Any]) -> None:
    rows = {
        name: ", ".join(map(str, value)) or "none" if isinstance(value, list) else value
        for name, value in found.items()
    }
    checked = found["weights"].items()
    rows["weights"] = (
        "; ".join(f"{name}: {', '.join(problems) or 'whole'}" for name, problems in checked) or "none found"
    )
    for name, value in rows.items():
        console.say(f"{name:18} {escape(value, 2000)}")
