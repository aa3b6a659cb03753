"""What a model in training is worth: figures and a sheet of samples on photographs it never saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from . import views
from .dataset import centres, find, held_out
from .images import Picture
from .metrics.calibration import coverage, exploded
from .metrics.likelihood import bits_per_dim
from .models import Density, Sampler
from .tasks import Task

_CROP = 128
_PHOTOS = 12
_SAMPLES = 20
_SHOWN = 4


@dataclass
class Validator:
    """Pairs (x, y) cut from the held-out photographs of the training folders."""

    task: Task
    pairs: list[tuple[Tensor, Tensor]]

    @classmethod
    def load(cls, task: Task, folders: Sequence[Path]) -> Validator:
        """Take the central 128 x 128 pixels of up to 12 held-out photographs; there may be none in a small folder."""
        paths = [path for path in find(folders) if held_out(path)]
        return cls(task, [task.pair(crop) for crop in centres(paths, _CROP, _PHOTOS)])

    @torch.no_grad()
    def figures(self, model: Sampler, device: torch.device) -> dict[str, float]:
        """Return the means of bits per dim, the task's metrics at temperature 0, exploded shares and coverage."""
        rows = [self._row(model, x.to(device), y.to(device)) for x, y in self.pairs]
        if not rows:
            return {}
        figures = {key: fmean(row[key] for row in rows) for key in rows[0]}
        if "bits_per_dim" in figures:
            figures["worst_bits_per_dim"] = max(row["bits_per_dim"] for row in rows)
        return figures

    def _row(self, model: Sampler, x: Tensor, y: Tensor) -> dict[str, float]:
        base = self.task.baseline(x)[0]
        still = model.sample(x, 1, 0.0, 0).y[0]
        row = self.task.metrics(self.task.assemble(x, still).cpu(), y.cpu())
        for temperature in (0.8, 1.0):
            drawn = model.sample(x, _SAMPLES, temperature, 0).y[0]
            row[f"exploded_{temperature}"] = exploded(drawn, base)
        row |= {f"coverage_{level:.0%}": coverage(drawn, y[0], level) for level in (0.5, 0.9)}
        if isinstance(model, Density):
            row["bits_per_dim"] = float(bits_per_dim(model.log_prob(y, x), y[0].numel())[0])
        return row

    @torch.no_grad()
    def sheet(self, model: Sampler, device: torch.device) -> Picture:
        """Return a picture of the first photographs: truth, baseline, temperature 0, 0.8 and 1."""
        pictures: list[Picture] = []
        captions: list[str] = []
        for x, y in self.pairs[:_SHOWN]:
            shown = {"truth": y, "baseline": self.task.baseline(x)}
            for temperature in (0.0, 0.8, 1.0):
                drawn = model.sample(x.to(device), 1, temperature, 0).y[0]
                shown[f"temperature {temperature:g}"] = self.task.assemble(x, drawn.cpu())
            pictures += [as_picture(image[0]) for image in shown.values()]
            captions += list(shown)
        return views.sheet(pictures, captions, columns=5)


def as_picture(y: Tensor) -> Picture:
    """Return the 8-bit picture of y (C, H, W)."""
    values = (y * 256).floor().clamp(0, 255).to(torch.uint8)
    return Picture(values.permute(1, 2, 0).contiguous().numpy())
