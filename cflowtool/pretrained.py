"""Weights from Python: restored pictures, samples as tensors, log-likelihoods, and saving."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from . import hub, images, weights
from .canvas import Restoration, Settings
from .device import exact
from .errors import InputError, UsageError
from .images import Picture, from_tensor, to_tensor
from .models import Draws, Sampler
from .restorer import Restorer, Score
from .tasks import Task
from .tiles import pad_to_multiple
from .weights import WeightCard

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    Source: TypeAlias = "str | Path | Picture | Tensor | NDArray[Any] | Image.Image"

_SAMPLING = 0.8


@dataclass(frozen=True)
class Pretrained:
    """A weight at work on one device.

    Wherever an image is taken it may be a file's name, a Picture, a Pillow image, an array (H, W) or (H, W, 3) of
    uint8 or uint16, or a tensor (3, H, W) or (1, 3, H, W) of floats in [0, 1]; masks may be grey and are white where
    the image is to be filled, or where the retina is.
    """

    restorer: Restorer

    @property
    def card(self) -> WeightCard:
        """Return what the weight is, where it comes from and what it was measured to do."""
        return self.restorer.card

    @property
    def model(self) -> Sampler:
        """Return the network itself: ``encode``, ``decode``, ``sample`` and, of a density, ``log_prob`` of tensors."""
        return self.restorer.model

    @property
    def task(self) -> Task:
        """Return what makes x of images and images of y."""
        return self.restorer.task

    def restore(
        self, image: Source, mask: Source | None = None, samples: int | None = None, temperature: float | None = None,
        seed: int = 0, mean: bool = False, std: bool = False,
    ) -> Restoration:  # fmt: skip
        """Return samples of the restored picture, in tiles where it is large: by default what a bare command draws.

        Their ``pictures`` have the depth of the image, 8 bits where that was a tensor; ``mean`` is kept where the
        weight's default is the mean of its samples.
        """
        defaults = self.card.recipe.defaults
        count = samples or defaults.samples
        chosen = (defaults.temperature or (_SAMPLING if count > 1 else 0.0)) if temperature is None else temperature
        settings = Settings(count, chosen, seed, mean=mean or defaults.estimate == "mean", std=std)
        return self.restorer.restore(as_picture(image), settings, None if mask is None else as_mask(mask))

    @torch.no_grad()
    def sample(
        self, image: Source, n: int = 1, temperature: float = _SAMPLING, seed: int = 0, mask: Source | None = None
    ) -> Draws:
        """Return restored images as tensors y (1, N, C, H, W) in [0, 1], not rounded, and log p of each, (1, N).

        The image is taken whole, without tiles. Sample k is that of ``restore`` and of the command with the same seed.
        Raises InputError for an image of another size than a model of one size takes.
        """
        given = as_tensor(image)
        x = self.task.condition(given, None if mask is None else as_mask(mask))
        device = self.restorer.device
        with exact(device):
            draws = self.model.sample(self._padded(x).to(device), n, temperature, seed)
        height, width = (side * self.model.scale for side in x.shape[-2:])
        y = draws.y[0, ..., :height, :width].float().cpu()
        results = torch.cat([self.task.finish(given, x, one[None]) for one in y])
        return Draws(results[None], None if draws.log_prob is None else draws.log_prob.double().cpu())

    def _padded(self, x: Tensor) -> Tensor:
        size = self.model.size
        if size.fixed and tuple(x.shape[-2:]) != size.fixed:
            what = f"this model takes {size.fixed[0]} x {size.fixed[1]} pixels at once"
            raise InputError(what, "use restore, which cuts images into tiles")
        return pad_to_multiple(x, size.multiple_of)

    def log_prob(self, image: Source, candidate: Source, mask: Source | None = None, draws: int = 0) -> Score:
        """Return log p(candidate | image) in nats, in bits per dimension, and its standard error over ``draws``.

        Raises NoLikelihood for a model without one, InputError for a candidate of the wrong size.
        """
        taken = None if mask is None else as_mask(mask)
        return self.restorer.score(as_picture(image), [as_picture(candidate)], draws, mask=taken)[0]

    def save_pretrained(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write the weight, as it is by now, to ``path`` if that ends in .safetensors, else to model.safetensors in it.

        Raises OutputError where that exists, unless ``overwrite``, and where it cannot be written.
        """
        target = Path(path) if str(path).endswith(weights.SUFFIX) else Path(path, hub.FILE)
        weights.save(target, self.model, self.card, overwrite)
        return target


def from_pretrained(
    name: str | Path, device: str = "auto", precision: str = "auto", tile: str = "auto", offline: bool = False
) -> Pretrained:
    """Return the weight of a bundled name, a file, a folder or ``org/name[@revision]`` on a hub, ready to use.

    What is on a hub is pulled once and taken from the cache after that; ``offline`` forbids the former. Only
    safetensors that the loader takes are ever used. Raises WeightsError.
    """
    loaded = weights.load(hub.resolve(str(name), "", offline))
    return Pretrained(Restorer(loaded, device, precision, tile))


def as_picture(source: Source) -> Picture:
    """Return what was given as a picture: read, taken as it is, or, of floats, at 8 bits."""
    if isinstance(source, Picture):
        return source
    if isinstance(source, str | Path):
        return images.read(Path(source))
    if isinstance(source, Tensor):
        values = _checked(source)[0]
        return from_tensor(values, Picture(np.zeros((*values.shape[-2:], len(values)), np.uint8)))
    array = np.asarray(source)
    try:
        return Picture(np.ascontiguousarray(array[..., None] if array.ndim == 2 else array))
    except ValueError as error:
        raise UsageError(
            f"no image: {error}", "give a file's name, an array (H, W, 3) or a tensor (3, H, W)"
        ) from error


def as_tensor(source: Source) -> Tensor:
    """Return what was given as (1, 3, H, W) in [0, 1], stored levels at their midpoints, floats as they are."""
    if isinstance(source, Tensor):
        return _checked(source).float().cpu().expand(1, 3, -1, -1)
    return to_tensor(as_picture(source))


def as_mask(source: Source) -> Tensor:
    """Return what was given as (1, 1, H, W), the mean of its channels in [0, 1]."""
    if isinstance(source, Tensor):
        return _checked(source).float().cpu().mean(1, keepdim=True)
    picture = as_picture(source)
    return torch.from_numpy(picture.pixels.astype(np.float32).mean(2) / (picture.levels - 1))[None, None]


def _checked(values: Tensor) -> Tensor:
    """Return (1, 1 or 3, H, W); raise UsageError unless the tensor is an image of floats in [0, 1]."""
    whole = values[None] if values.ndim == 3 else values
    fits = whole.ndim == 4 and whole.shape[0] == 1 and whole.shape[1] in (1, 3)
    if not fits or not whole.is_floating_point() or not bool(((whole >= 0) & (whole <= 1)).all()):
        what = f"no image: a tensor {tuple(values.shape)} of {values.dtype}"
        raise UsageError(what, "give floats in [0, 1], (3, H, W) or (1, 3, H, W)")
    return whole
