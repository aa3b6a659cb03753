"""Folders of photographs as random crops and as a fixed validation split."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from . import images
from .errors import InputError, UsageError, escape

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"}
_HELD_OUT = 0.05
_CLEAN_TABLE_MEAN = 8.0


def find(folders: Sequence[Path]) -> list[Path]:
    """Return the image files under the folders in the order of their names; raise UsageError when there is none."""
    found = sorted({p for folder in folders for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()})
    if not found:
        named = escape(", ".join(map(str, folders)))
        raise UsageError(f"no images in {named}", "give folders of PNG, JPEG, TIFF or WebP files")
    return found


def held_out(path: Path) -> bool:
    """Return whether a file belongs to the 5 % that are never trained on, by the hash of its name alone."""
    return int.from_bytes(hashlib.sha256(path.name.encode()).digest()[:4], "big") / 2**32 < _HELD_OUT


def has_blocks(path: Path) -> bool:
    """Return whether the file is a JPEG compressed so strongly that its blocks would be learnt (below quality 93)."""
    with Image.open(path) as image:
        tables: dict[int, list[int]] = getattr(image, "quantization", {})
    return bool(tables) and sum(tables[0]) / len(tables[0]) > _CLEAN_TABLE_MEAN


def load_sharp(path: Path) -> Tensor:
    """Return (3, H, W) uint8, shrunk by 2 (area average) when its JPEG blocks would be learnt otherwise."""
    pixels = torch.from_numpy(images.read(path).pixels)
    if pixels.dtype != torch.uint8:
        pixels = (pixels.int() >> 8).to(torch.uint8)
    image = pixels.permute(2, 0, 1).expand(3, -1, -1)
    if not has_blocks(path):
        return image.contiguous()
    return F.avg_pool2d(image.float(), 2).round().to(torch.uint8)


def midpoints(image: Tensor) -> Tensor:
    """Return uint8 values v as (v + 1/2) / 256."""
    return (image.float() + 0.5) / 256


@dataclass
class Crops:
    """Images in memory, cut into random square crops that depend on (seed, step) alone."""

    photos: list[Tensor]
    crop: int

    @classmethod
    def load(cls, paths: Sequence[Path], crop: int) -> Crops:
        """Read the files, passing over those that are unreadable or smaller than a crop."""
        photos = [p for path in paths if (p := _readable(path)) is not None and min(p.shape[1:]) >= crop]
        if not photos:
            what = f"no readable image is at least {crop} pixels wide and high"
            raise UsageError(what, "give larger images or a smaller crop")
        return cls(photos, crop)

    def batch(self, count: int, generator: torch.Generator) -> Tensor:
        """Return (count, 3, crop, crop) at midpoints; images are drawn in proportion to the root of their area."""
        areas = torch.tensor([float(photo[0].numel()) for photo in self.photos]).sqrt()
        chosen = torch.multinomial(areas, count, replacement=True, generator=generator)
        return midpoints(torch.stack([self._crop(self.photos[i], generator) for i in chosen.tolist()]))

    def middles(self, count: int, side: int) -> list[Tensor]:
        """Return the central (1, 3, side, side), or what there is of it, of ``count`` photos spread over the list."""
        chosen = self.photos[:: max(1, len(self.photos) // count)][:count]
        return [midpoints(_middle(photo, min(side, *photo.shape[1:]))[None]) for photo in chosen]

    def _crop(self, photo: Tensor, generator: torch.Generator) -> Tensor:
        draws = torch.rand(5, generator=generator).tolist()
        top, left = (int(d * (side - self.crop + 1)) for d, side in zip(draws, photo.shape[1:], strict=False))
        piece = photo[:, top : top + self.crop, left : left + self.crop]
        flips = [axis for axis, draw in ((1, draws[2]), (2, draws[3])) if draw < 0.5]
        piece = piece.flip(flips) if flips else piece
        return piece.transpose(1, 2) if draws[4] < 0.5 else piece


def centres(paths: Sequence[Path], crop: int, count: int) -> list[Tensor]:
    """Return up to ``count`` central crops (1, 3, crop, crop) at midpoints, of the files in their hashes' order."""
    found: list[Tensor] = []
    for path in sorted(paths, key=lambda p: hashlib.sha256(p.name.encode()).digest()):
        photo = _readable(path) if len(found) < count else None
        if photo is not None and min(photo.shape[1:]) >= crop:
            found.append(midpoints(_middle(photo, crop)[None]))
    return found


def _middle(photo: Tensor, crop: int) -> Tensor:
    top, left = ((side - crop) // 2 for side in photo.shape[1:])
    return photo[:, top : top + crop, left : left + crop]


def _readable(path: Path) -> Tensor | None:
    try:
        return load_sharp(path)
    except InputError:
        return None
