"""Weights: one safetensors file per model with its card in the header, refused unless everything in it fits."""

from __future__ import annotations

import hashlib
import stat
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, BinaryIO, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from . import __version__, budget, header
from .errors import WeightsError, escape
from .flows.linear import Invertible1x1
from .header import Header
from .images import write_bytes
from .models import Sampler
from .recipes import DEFAULT, Recipe, TaskSpec, build, check

SUFFIX = ".safetensors"
_KEY = "cflowtool.card"
_LARGEST_CARD = 2**20
_LARGEST_FILE = 2 * 2**30
_WORST_CONDITION = 1e4


class DataSet(BaseModel):
    """Images a weight was trained on, and under what terms."""

    model_config = ConfigDict(extra="forbid")
    name: str
    images: int = Field(ge=0)
    terms: str = "not stated"


class WeightCard(BaseModel):
    """What a weight is, where it comes from and what it was measured to do."""

    model_config = ConfigDict(extra="forbid")
    format: Literal[1] = 1
    recipe: Recipe
    storage: Literal["float32", "float16"] = "float32"
    tensors_sha256: str = ""
    parameters: int = Field(default=0, ge=0)
    steps: int = Field(default=0, ge=0)
    seconds: float = Field(default=0.0, ge=0, allow_inf_nan=False)
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
    """Write the model's tensors, as the card's storage says, and the card into one file; return the card with its
    checksum. In float16 a number keeps 11 bits."""
    own = {k: v.detach().cpu().contiguous().clone() for k, v in model.state_dict().items()}
    tensors = {k: v.to(_stored(v.dtype, card)) for k, v in own.items()}
    parameters = sum(p.numel() for p in model.parameters())
    card = card.model_copy(update={"tensors_sha256": _digest(tensors), "parameters": parameters})
    write_bytes(path, save_tensors(tensors, {_KEY: card.model_dump_json()}), overwrite=overwrite)
    return card


def _stored(dtype: torch.dtype, card: WeightCard) -> torch.dtype:
    return torch.float16 if dtype == torch.float32 and card.storage == "float16" else dtype


def _refused(path: Path, why: str) -> WeightsError:
    what = f"weight {escape(path)} is refused: {escape(why)}"
    return WeightsError(what, "run `cflow models list`, or train one with `cflow train`")


def _card(found: Header) -> WeightCard:
    text = found.metadata.get(_KEY)
    if text is None or len(text) > _LARGEST_CARD:
        raise ValueError("it has no cflow card")
    header.strict_json(text)
    card = WeightCard.model_validate_json(text)
    if not card.name.isprintable():
        raise ValueError("the name on its card is not printable")
    budget.check_numbers([card.recipe.task.options, card.recipe.model.config])
    return card


def _opened(path: Path) -> BinaryIO:
    """Open a regular file of no more than 2 GiB; raise WeightsError for anything else."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise _refused(path, "not a regular file")
        if status.st_size > _LARGEST_FILE:
            raise _refused(path, "over 2 GiB")
        return path.open("rb")
    except (OSError, ValueError) as error:
        raise _refused(path, getattr(error, "strerror", None) or "not readable") from error


def _header(file: BinaryIO) -> tuple[bytes, Header]:
    """Return the first bytes of a file, as far as its header goes, and the header."""
    start = file.read(8)
    start += file.read(header.length(start) - 8)
    size = file.seek(0, 2)
    file.seek(len(start))
    return start, header.parse(start, size)


def read_card(path: Path) -> WeightCard:
    """Return the card in the file's header alone; raise WeightsError when there is none."""
    with _opened(path) as file:
        try:
            return _card(_header(file)[1])
        except (ValueError, OSError) as error:
            raise _refused(path, _first_line(error)) from error


def _first_line(error: BaseException) -> str:
    return str(error).split("\n")[0] or type(error).__name__


def _built(card: WeightCard, found: Header) -> Sampler:
    """Return the model of a card, its tensors those of the header in name, shape and dtype."""
    with budget.limited(len(found.tensors), found.values):
        check(card.recipe)
        model = build(card.recipe)
    own = model.state_dict()
    if unlike := sorted(own.keys() ^ found.tensors.keys()):
        raise ValueError(f"its tensors are not those of its recipe: {unlike[0]}")
    for name, (dtype, shape) in found.tensors.items():
        if shape != own[name].shape or dtype != _stored(own[name].dtype, card):
            raise ValueError(f"tensor {name} is {dtype} {shape}, not as its recipe says")
    return model


def _check(tensors: dict[str, Tensor], card: WeightCard) -> None:
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise ValueError(f"tensor {name} is not finite")
    if _digest(tensors) != card.tensors_sha256:
        raise ValueError("its tensors do not match the checksum on its card")


def load(path: Path) -> Loaded:
    """Return the model of a weight file in evaluation mode; raise WeightsError unless the file fits its card.

    Nothing is built before header and card agree in themselves, and no tensor is read before they agree with the model.
    """
    with _opened(path) as file:
        try:
            start, found = _header(file)
            card = _card(found)
            model = _built(card, found)
            data = start + file.read()
            tensors = load_tensors(data)
            _check(tensors, card)
            model.load_state_dict(tensors)
        except Exception as error:  # a card that lies may bring constructors to raise nearly anything
            raise _refused(path, _first_line(error)) from error
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
        for path in sorted(known.values(), key=lambda path: (path.stem not in DEFAULT.values(), path.stem)):
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
