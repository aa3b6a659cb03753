"""Where the mask of an image comes from: one file, a folder of files of the same names, or the image's own alpha."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cflowtool import images
from cflowtool.batch.inputs import Job
from cflowtool.batch.names import SUFFIXES
from cflowtool.errors import InputError, escape
from cflowtool.images import Picture

ALPHA = "alpha"


@dataclass(frozen=True)
class Mask:
    """A mask (1, 1, H, W) in [0, 1], or None for none, and the picture it belongs to."""

    picture: Picture
    values: Tensor | None = None


@dataclass(frozen=True)
class Masks:
    """The masks of a run: none, a file, a folder, "alpha" (what is transparent), or "all" (every pixel)."""

    source: str | None = None
    limits: images.Limits = field(default_factory=images.Limits)

    def of(self, job: Job, picture: Picture) -> Mask:
        """The mask of one input; raises InputError where there is none or it cannot be read."""
        if self.source is None:
            return Mask(picture)
        if self.source == "all":
            return Mask(picture, torch.ones(1, 1, *picture.size))
        if self.source == ALPHA:
            return self._transparent(job, picture)
        path = self._path(job)
        with _blamed():
            return Mask(picture, grey(images.read(path, self.limits)))

    def digest(self, job: Job) -> str:
        """What tells the masks of two runs apart: the digest of the file, or the source itself."""
        if self.source in (None, "all", ALPHA):
            return self.source or ""
        path = self._path(job)
        with _blamed():
            return hashlib.sha256(images.content(path, self.limits)).hexdigest()

    def _transparent(self, job: Job, picture: Picture) -> Mask:
        if picture.alpha is None:
            what = f"{escape(job.name)}: has no alpha channel to take the mask from"
            raise InputError(
                what, "give --mask FILE, or a picture that is transparent where it is to be filled", "mask"
            )
        clear = 1 - picture.alpha.astype(np.float32) / (picture.levels - 1)
        return Mask(replace(picture, alpha=None), torch.from_numpy(clear)[None, None])

    def _path(self, job: Job) -> Path:
        path = Path(str(self.source))
        if not path.is_dir():
            return path
        places = [path / job.stem.with_name(job.stem.name + suffix) for suffix in sorted(SUFFIXES)]
        named = [path / job.stem.parent / job.source.name, path / job.source.name] if job.source else []
        found = next((place for place in (*named, *places) if place.is_file()), None)
        if found is None:
            what = f"{escape(job.name)}: no mask of this name in {escape(path)}"
            raise InputError(what, "name masks like their images", "mask")
        return found


@contextlib.contextmanager
def _blamed() -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(f"mask {error.what}", error.hint, "mask") from error


def grey(picture: Picture) -> Tensor:
    """The mean over the channels of a picture in [0, 1], (1, 1, H, W), black where it is transparent."""
    values = picture.pixels.astype(np.float32).mean(2) / (picture.levels - 1)
    if picture.alpha is not None:
        values = values * (picture.alpha.astype(np.float32) / (picture.levels - 1))
    return torch.from_numpy(values)[None, None]
