"""The state of a training run in one file, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from .errors import OutputError, WeightsError, escape
from .images import write_bytes

NAME = "checkpoint.safetensors"
PREVIOUS = "checkpoint.previous.safetensors"
_NEXT = "checkpoint.next.safetensors"


@dataclass
class State:
    """Where a run is: steps done, seconds spent, whether only the mean was trained so far, and the recipe."""

    step: int = 0
    seconds: float = 0.0
    warm: bool = True
    recipe: dict[str, Any] = field(default_factory=dict)


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {f"optimizer.{i}.{key}": torch.as_tensor(v) for i, entry in state.items() for key, v in entry.items()}


def write(folder: Path, model: nn.Module, ema: nn.Module, optimizer: torch.optim.Optimizer, state: State) -> Path:
    """Write the run's state into ``folder``, keeping the one before; return the file.

    The new one is whole on the disk before an old one is touched, so that at every moment the folder has a whole one.
    Raises OutputError, the checkpoints there as they were, when the disk refuses.
    """
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"ema.{k}": v for k, v in ema.state_dict().items()} | _optimizer_tensors(optimizer)
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    path = folder / NAME
    write_bytes(folder / _NEXT, save(tensors, {"state": json.dumps(vars(state), sort_keys=True)}), overwrite=True)
    try:
        if path.exists():
            path.replace(folder / PREVIOUS)
        (folder / _NEXT).replace(path)
    except OSError as error:
        what = f"cannot write {escape(path)}: {error.strerror}"
        raise OutputError(what, "free space or choose another --out") from error
    return path


def read(path: Path) -> tuple[dict[str, Tensor], State]:
    """Return all tensors and the state; raise WeightsError when the file is not whole."""
    try:
        with safe_open(path, "pt") as file:
            state = State(**json.loads(file.metadata()["state"]))
            return {key: file.get_tensor(key) for key in file.keys()}, state  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        what = f"checkpoint {escape(path)} is not readable: {error}"
        raise WeightsError(what, "delete it and resume from the one before") from error


def newest(folder: Path, warn: Callable[[str], None] | None = None) -> tuple[dict[str, Tensor], State] | None:
    """Return the newest checkpoint of a folder that is whole, or None; raise WeightsError when all are damaged.

    A damaged newest file is put aside, so that it never takes the place of the good one before it, and ``warn`` is
    told.
    """
    damaged: WeightsError | None = None
    for path in (folder / NAME, folder / PREVIOUS):
        if path.exists():
            try:
                found = read(path)
            except WeightsError as error:
                damaged = error
                continue
            if damaged:
                _put_aside(folder)
                if warn:
                    warn(f"{damaged.what}; going on from step {found[1].step} in {escape(path.name)}")
            return found
    if damaged:
        raise damaged
    return None


def _put_aside(folder: Path) -> None:
    # Of several processes the first one does.
    with suppress(FileNotFoundError):
        (folder / NAME).replace(folder / f"{NAME}.damaged")


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors below ``prefix.``, without it."""
    return {key.removeprefix(f"{prefix}."): value for key, value in tensors.items() if key.startswith(f"{prefix}.")}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put the moments of Adam back."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in part(tensors, "optimizer").items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
