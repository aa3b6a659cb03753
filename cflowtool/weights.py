"""Weights: one safetensors file per model with its card in the header, refused unless everything in it fits."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from . import __version__
from .errors import WeightsError, escape
from .flows.linear import Invertible1x1
from .images import write_bytes
from .models import Sampler
from .recipes import DEFAULT, Recipe, TaskSpec, build, check

SUFFIX = ".safetensors"
_KEY = "cflowtool.card"
_LARGEST_HEADER = 16 * 2**20
_LARGEST_FILE = 2 * 2**30
_WORST_CONDITION = 1e4


class DataSet(BaseModel):
    """Images a weight was trained on, and under what terms."""

    model_config = ConfigDict(extra="forbid")
    name: str
    images: int
    terms: str = "not stated"


class WeightCard(BaseModel):
    """What a weight is, where it comes from and what it was measured to do."""

    model_config = ConfigDict(extra="forbid")
    format: int = 1
    recipe: Recipe
    tensors_sha256: str = ""
    parameters: int = 0
    steps: int = 0
    seconds: float = 0.0
    hardware: str = ""
    command: str = ""
    data: list[DataSet] = []
    results: dict[str, Any] = {}
    notes: list[str] = []
    version: str = __version__

    @property
    def name(self) -> str:
        return self.recipe.name


@dataclass(frozen=True)
class Loaded:
    """A model ready to use, its card, and the file it came from."""

    model: Sampler
    card: WeightCard
    sha256: str
    path: Path


@dataclass
class Report:
    """What ``verify`` found: problems (none: the file is fine) and figures."""

    problems: list[str] = field(default_factory=list)
    parameters: int = 0
    mebibytes: float = 0.0
    condition_number: float = 0.0


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save(path: Path, model: Sampler, card: WeightCard, overwrite: bool = True) -> WeightCard:
    """Write the model's tensors and the card into one file and return the card with its checksum."""
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in model.state_dict().items()}
    parameters = sum(p.numel() for p in model.parameters())
    card = card.model_copy(update={"tensors_sha256": _digest(tensors), "parameters": parameters})
    write_bytes(path, save_tensors(tensors, {_KEY: card.model_dump_json()}), overwrite=overwrite)
    return card


def _refused(path: Path, why: str) -> WeightsError:
    what = f"weight {escape(path)} is refused: {escape(why)}"
    return WeightsError(what, "run `cflow models list`, or train one with `cflow train`")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _header(data: bytes) -> dict[str, Any]:
    """Return the header of a file whose bytes, or first bytes, are given; raise ValueError when it is not one."""
    if len(data) < 8 or (length := struct.unpack("<Q", data[:8])[0]) > min(_LARGEST_HEADER, len(data) - 8):
        raise ValueError("not a safetensors file")
    header = json.loads(data[8 : 8 + length].decode("utf-8"), object_pairs_hook=_no_duplicates)
    if not isinstance(header, dict):
        raise ValueError("its header is not an object")
    return header


def _card(header: dict[str, Any]) -> WeightCard:
    text = (header.get("__metadata__") or {}).get(_KEY)
    if not isinstance(text, str):
        raise ValueError("it has no cflow card")
    return WeightCard.model_validate_json(text)


def _bytes(path: Path, limit: int | None = None) -> bytes:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise _refused(path, "over 2 GiB")
        with path.open("rb") as file:
            return file.read() if limit is None else file.read(limit)
    except OSError as error:
        raise _refused(path, error.strerror or "not readable") from error


def read_card(path: Path) -> WeightCard:
    """Return the card in the file's header alone; raise WeightsError when there is none."""
    try:
        return _card(_header(_bytes(path, 8 + _LARGEST_HEADER)))
    except (ValueError, RecursionError) as error:
        raise _refused(path, str(error).split("\n")[0]) from error


def _check(model: Sampler, tensors: dict[str, Tensor], card: WeightCard) -> None:
    own = model.state_dict()
    if unlike := sorted(own.keys() ^ tensors.keys()):
        raise ValueError(f"its tensors are not those of its recipe: {unlike[0]}")
    for name, value in tensors.items():
        if value.shape != own[name].shape or value.dtype != own[name].dtype:
            raise ValueError(f"tensor {name} is {value.dtype} {tuple(value.shape)}, not as its recipe says")
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise ValueError(f"tensor {name} is not finite")
    if _digest(tensors) != card.tensors_sha256:
        raise ValueError("its tensors do not match the checksum on its card")


def load(path: Path) -> Loaded:
    """Return the model of a weight file in evaluation mode; raise WeightsError unless the file fits its card."""
    data = _bytes(path)
    try:
        card = _card(_header(data))
        check(card.recipe)
        tensors = load_tensors(data)
        model = build(card.recipe)
        _check(model, tensors, card)
        model.load_state_dict(tensors)
    except (ValueError, TypeError, ArithmeticError, SafetensorError, RuntimeError) as error:
        raise _refused(path, str(error).split("\n")[0]) from error
    model = model.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Loaded(model, card, hashlib.sha256(data).hexdigest(), path)


def folders() -> list[Path]:
    """Return where bundled weights are looked for: in the installed package, and in a checkout beside it."""
    package = Path(str(resources.files("cflowtool")))
    return [package / "weights_data", package.parent / "weights"]


def registry() -> dict[str, Path]:
    """Return the bundled weights by name."""
    return {p.stem: p for folder in reversed(folders()) if folder.is_dir() for p in sorted(folder.glob(f"*{SUFFIX}"))}


def _task(path: Path) -> TaskSpec | None:
    try:
        return read_card(path).recipe.task
    except WeightsError:
        return None


def resolve(name: str | None, task: str, **options: object) -> Path:
    """Return the file of a bundled name or a path, or, without one, the task's default weight with these task options,
    or else its first."""
    known = registry()
    given = {key: value for key, value in options.items() if value is not None}
    if name is None:
        for path in sorted(known.values(), key=lambda path: path.stem not in DEFAULT.values()):
            spec = _task(path)
            if spec and spec.name == task and given.items() <= spec.options.items():
                return path
        wanted = " ".join([task, *(f"--{k} {v}" for k, v in given.items())])
        raise WeightsError(f"no weight for {escape(wanted)}", "see `cflow models list`, or give one with --model FILE")
    if name in known:
        return known[name]
    if Path(name).is_file():
        return Path(name)
    near = ", ".join(known) or "none are bundled"
    raise WeightsError(f"no weight named {escape(name)}", f"give a file or one of: {near}")


def verify(path: Path) -> Report:
    """Load a weight, check it against its card and measure the worst condition number of its 1x1 convolutions."""
    report = Report()
    try:
        loaded = load(path)
    except WeightsError as error:
        report.problems.append(error.what)
        return report
    linear = [m for m in loaded.model.modules() if isinstance(m, Invertible1x1)]
    report.parameters = loaded.card.parameters
    report.mebibytes = path.stat().st_size / 2**20
    report.condition_number = max((m.condition_number() for m in linear), default=1.0)
    if report.condition_number > _WORST_CONDITION:
        report.problems.append(f"a 1x1 convolution is nearly singular (condition number {report.condition_number:.3g})")
    return report
