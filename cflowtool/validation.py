"""What a model in training is worth: figures and a sheet of samples on photographs it never saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import torch
from torch import Tensor

from . import views
from .dataset import centres, find, held_out, padded
from .images import Picture
from .metrics.calibration import coverage, exploded
from .metrics.likelihood import bits_per_dim
from .models import Density, Sampler, SizeRule
from .tasks import Task

_CROPS = (128, 64)
_PHOTOS = 12
_WHOLE_PHOTOS = 4
_SAMPLES = 20
_SHOWN = 4
_PIXELS_AT_ONCE = _SAMPLES * _CROPS[0] ** 2


class Pair(NamedTuple):
    """x and y of one photograph, (1, C, h, w) and (1, C, H, W), and the pixels (H, W) that count, None for all."""

    x: Tensor
    y: Tensor
    within: Tensor | None


@dataclass
class Validator:
    """Pairs cut from the held-out photographs of the training folders."""

    task: Task
    pairs: list[Pair]

    @classmethod
    def load(cls, task: Task, folders: Sequence[Path], size: SizeRule | None = None) -> Validator:
        """Take what fits the model of the held-out photographs; there may be none in a small folder.

        These are the central 128 x 128 pixels of up to 12, or 64 x 64 where none is larger, or what a model of a fixed
        size takes; of a task for whole photographs, up to 4, from the folder given first as far as it has them.
        """
        size = size or SizeRule()
        cut = _whole if task.whole and not size.fixed else _cut
        truths = cut(task, folders, size)
        return cls(task, [_pair(task, truth) for truth in truths])

    @torch.no_grad()
    def figures(self, model: Sampler, device: torch.device) -> dict[str, float]:
        """Return the means of bits per dim, the task's metrics at temperature 0, exploded shares and coverage.

        For masks these are the metrics at temperature 0 and of the mean of 20 samples, and bits per dim.
        """
        rows = [self._row(model, pair, device) for pair in self.pairs]
        keys = dict.fromkeys(key for row in rows for key in row)
        figures = {key: fmean(row[key] for row in rows if key in row) for key in keys}
        if "bits_per_dim" in figures:
            figures["worst_bits_per_dim"] = max(row["bits_per_dim"] for row in rows)
        return figures

    def _row(self, model: Sampler, pair: Pair, device: torch.device) -> dict[str, float]:
        x, y = pair.x.to(device), pair.y.to(device)
        truth = self.task.assemble(x, y).cpu()
        still = self.task.assemble(x, model.sample(x, 1, 0.0, 0).y[0]).cpu()
        row = self.task.metrics(still, truth, pair.within)
        row |= self._of_masks(model, x, truth, pair) if self.task.levels == 2 else self._of_colours(model, x, y, pair)
        if isinstance(model, Density):
            log_mass = model.log_mass_given(y, model.encode(x))
            row["bits_per_dim"] = float(bits_per_dim(log_mass, model.dims(*x.shape[-2:]), levels=1)[0])
        return row

    def _of_masks(self, model: Sampler, x: Tensor, truth: Tensor, pair: Pair) -> dict[str, float]:
        mean = self.task.assemble(x, drawn(model, x, 1.0)).mean(0, keepdim=True).cpu()
        return {f"mean_{key}": value for key, value in self.task.metrics(mean, truth, pair.within).items()}

    def _of_colours(self, model: Sampler, x: Tensor, y: Tensor, pair: Pair) -> dict[str, float]:
        row: dict[str, float] = {}
        base = self.task.baseline(x)[0] if self.task.near_baseline else None
        for temperature in (0.8, 1.0) if base is not None else (1.0,):
            samples = drawn(model, x, temperature)
            if base is not None:
                row[f"exploded_{temperature}"] = exploded(self.task.assemble(x, samples), base)
        truth = y[0]
        if pair.within is not None:
            samples, truth = samples[..., pair.within], truth[..., pair.within]
        return row | {f"coverage_{level:.0%}": coverage(samples, truth, level) for level in (0.5, 0.9)}

    @torch.no_grad()
    def sheet(self, model: Sampler, device: torch.device) -> Picture:
        """Return a picture of the first photographs: truth, baseline, temperature 0, 0.8 and 1, and, of an x of y's
        size that is a picture, that before them."""
        rows = [self._shown(model, pair, device) for pair in self.pairs[:_SHOWN]]
        pictures = [as_picture(image[0]) for row in rows for image in row.values()]
        return views.sheet(pictures, [caption for row in rows for caption in row], columns=len(rows[0]))

    def _shown(self, model: Sampler, pair: Pair, device: torch.device) -> dict[str, Tensor]:
        x, task = pair.x, self.task
        shown = {"input": x[:, :3]} if task.scale == 1 and task.x_channels >= 3 else {}
        shown |= {"truth": task.assemble(x, pair.y), "baseline": task.baseline(x)}
        for temperature in (0.0, 0.8, 1.0):
            y = model.sample(x.to(device), 1, temperature, 0).y[0]
            shown[f"temperature {temperature:g}"] = task.assemble(x, y.cpu())
        return shown


def drawn(model: Sampler, x: Tensor, temperature: float, samples: int = _SAMPLES, seed: int = 0) -> Tensor:
    """Return samples 0 .. N - 1 (N, C, H, W) of one image, x encoded once, as many at a time as fit into memory."""
    height, width = x.shape[-2], x.shape[-1]
    chunk = max(1, _PIXELS_AT_ONCE // (height * width * model.scale**2))
    context = model.encode(x)
    noise = (
        model.noise((height, width), range(first, min(first + chunk, samples)), temperature, seed)
        for first in range(0, samples, chunk)
    )
    return torch.cat([model.decode(tuple(e[None].to(x) for e in eps), context).y[0] for eps in noise])


def _cut(task: Task, folders: Sequence[Path], size: SizeRule) -> list[Tensor]:
    paths = [path for path in find(folders) if held_out(path, task.held_out_share)]
    if size.fixed:
        height, width = size.fixed
        return centres(paths, (height * task.scale, width * task.scale), _PHOTOS, task)
    found = (centres(paths, (crop, crop), _PHOTOS, task) for crop in _CROPS)
    return next((truths for truths in found if truths), [])


def _whole(task: Task, folders: Sequence[Path], size: SizeRule) -> list[Tensor]:
    truths: list[Tensor] = []
    for folder in folders:
        paths = [path for path in find([folder]) if held_out(path, task.held_out_share)]
        truths += centres(paths, None, _WHOLE_PHOTOS - len(truths), task)
    fit = size.multiple_of * task.scale
    return [padded(t[0], *(-(-side // fit) * fit for side in t.shape[-2:]))[None] for t in truths]


def _pair(task: Task, truth: Tensor) -> Pair:
    x, y = task.pair(truth)
    return Pair(x, y, task.within(x, truth))


def as_picture(y: Tensor) -> Picture:
    """Return the 8-bit picture of y (C, H, W)."""
    values = (y * 256).floor().clamp(0, 255).to(torch.uint8)
    return Picture(values.permute(1, 2, 0).contiguous().numpy())
