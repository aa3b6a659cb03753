"""From a training run to a weight: the averaged model with a card that says where it comes from."""

from __future__ import annotations

import json
import platform
import re
import shlex
import sys
from pathlib import Path

import torch
from torch import Tensor

from .calibrate import calibrated, thresholded
from .dataset import find, held_out
from .images import write_bytes
from .models import Sampler
from .tasks import Task
from .trainer import Trainer
from .weights import DataSet, WeightCard, save

_CALIBRATION_PHOTOS, _CALIBRATION_SIDE = 24, 128
_WITHOUT_EFFECT = {"--resume", "--json", "--quiet", "--debug"}
_TERMS = re.compile(r"(?:Licen[cs]e|Terms stated by the origin):\s*(.+?)(?:\.\s|\.?$)", re.MULTILINE)


def hardware() -> str:
    """Return processor or accelerator, threads and the versions that decide the figures."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    processor = f"{platform.machine()} CPU ({torch.backends.cpu.get_cpu_capability()})"
    return f"{processor}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def terms(folder: Path) -> str:
    """Return the terms in the CREDITS.tsv or SOURCE.md of a folder or the one above it, else "not stated"."""
    for place in (folder, folder.parent):
        if (place / "CREDITS.tsv").is_file():
            return "author and licence of every image in its CREDITS.tsv"
        source = place / "SOURCE.md"
        if source.is_file() and (found := _TERMS.search(source.read_text("utf-8", errors="replace"))):
            return found[1]
    return "not stated"


def data_sets(folders: list[Path], share: float = Task.held_out_share) -> list[DataSet]:
    """Return name, number of training images, all but a held-out share, and terms of each folder."""
    counts = [(f, sum(not held_out(path, share) for path in find([f]))) for f in folders]
    return [DataSet(name=f.parent.name if f.name == "images" else f.name, images=n, terms=terms(f)) for f, n in counts]


def command() -> str:
    """Return the command as typed, without what does not decide the weight and without this machine's folders."""
    words = iter(sys.argv[1:])
    kept = ["cflow"]
    for word in words:
        if word in ("-o", "--out"):
            next(words, None)
        elif word not in _WITHOUT_EFFECT and not word.startswith("--out="):
            kept.append(re.sub(r"(^|=)/(?:.*/)?", r"\1", word))
    return shlex.join(kept)


def export(trainer: Trainer, path: Path) -> WeightCard:
    """Write the averaged model of a run as a weight, run.json beside it, and return its card.

    What differs between a run and the same run killed and resumed, such as the wall time, is in run.json alone.
    """
    about = {"seconds": round(trainer.state.seconds, 1), "steps": trainer.state.step, "command": command()}
    write_bytes(path.parent / "run.json", (json.dumps(about, indent=1) + "\n").encode(), overwrite=True)
    model = trainer.averaged()
    recipe = calibrated(trainer.recipe, model, _pairs(trainer, model))
    recipe = thresholded(recipe, model, trainer.crops.photos)
    card = WeightCard(
        recipe=recipe,
        steps=trainer.state.step,
        hardware=hardware(),
        command=command(),
        data=data_sets(trainer.options.data, trainer.task.held_out_share),
    )
    return save(path, model, card)


def _pairs(trainer: Trainer, model: Sampler) -> list[tuple[Tensor, Tensor]]:
    multiple = model.size.multiple_of * model.scale
    device = trainer.accelerator.device
    found = []
    for photo in trainer.crops.middles(_CALIBRATION_PHOTOS, _CALIBRATION_SIDE):
        side = photo.shape[-1] // multiple * multiple
        x, y = trainer.task.pair(photo[..., :side, :side])
        found.append((x.to(device), y.to(device)))
    return found
