"""Folders of photographs, and of their masks where a task needs them, as random crops and as a validation split."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from . import images
from .errors import InputError, UsageError, escape
from .tasks import TASKS, SuperResolve, Task

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"}
MASK_SUFFIXES = SUFFIXES | {".gif"}
MASK_FOLDERS = {n for task in TASKS.values() for names in task.masks for n in names} | {"manual2", "2nd_manual"}
# What DRIVE, CHASE_DB1 and HRF put behind the number that a photograph shares with its masks.
_SUFFIX_OF_A_SET = re.compile(r"(_training|_test|_manual[12]|_mask|_1stHO|_2ndHO)+$")
_HELD_OUT = 0.05
_CLEAN_TABLE_MEAN = 8.0
_PHOTOGRAPHS = SuperResolve()


def find(folders: Sequence[Path]) -> list[Path]:
    """Return the photographs under the folders in the order of their names; raise UsageError when there is none.

    What lies below a given folder in one named like ``masks``, ``fov`` or ``manual1`` is no photograph.
    """
    found = sorted({p for folder in folders for p in folder.rglob("*") if _is_photo(p, folder) and p.is_file()})
    if not found:
        named = escape(", ".join(map(str, folders)))
        raise UsageError(f"no images in {named}", "give folders of PNG, JPEG, TIFF or WebP files")
    return found


def _is_photo(path: Path, folder: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not MASK_FOLDERS & {*path.relative_to(folder).parts[:-1]}


def held_out(path: Path, share: float = _HELD_OUT) -> bool:
    """Return whether a file belongs to the share that is never trained on, by the hash of its name alone."""
    return int.from_bytes(hashlib.sha256(path.name.encode()).digest()[:4], "big") / 2**32 < share


def in_order(paths: Sequence[Path]) -> list[Path]:
    """Return the files in the order of the hashes of their names: any first few are a fair sample."""
    return sorted(paths, key=lambda path: hashlib.sha256(path.name.encode()).digest())


def has_blocks(path: Path) -> bool:
    """Return whether the file is a JPEG compressed so strongly that its blocks would be learnt (below quality 93)."""
    with Image.open(path) as image:
        tables: dict[int, list[int]] = getattr(image, "quantization", {})
    return bool(tables) and sum(tables[0]) / len(tables[0]) > _CLEAN_TABLE_MEAN


def load_eight_bit(path: Path) -> Tensor:
    """Return (3, H, W) uint8, grey in all three channels, the upper byte of 16 bits."""
    pixels = torch.from_numpy(images.read(path).pixels)
    if pixels.dtype != torch.uint8:
        pixels = (pixels.int() >> 8).to(torch.uint8)
    return pixels.permute(2, 0, 1).expand(3, -1, -1).contiguous()


def load_sharp(path: Path) -> Tensor:
    """Return (3, H, W) uint8, shrunk by 2 (area average) when its JPEG blocks would be learnt otherwise."""
    image = load_eight_bit(path)
    return F.avg_pool2d(image.float(), 2).round().to(torch.uint8) if has_blocks(path) else image


def mask_file(photo: Path, names: Sequence[str]) -> Path:
    """Return the file with the photograph's number in a folder of one of these names beside it or below its own.

    Raises UsageError where there is none.
    """
    for folder in (place / name for place in (photo.parent.parent, photo.parent) for name in names):
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        for file in files:
            if file.suffix.lower() in MASK_SUFFIXES and _number(file) == _number(photo):
                return file
    what = f"no mask for {escape(photo)}"
    folder_names = " or ".join(f"{name}/" for name in names)
    raise UsageError(what, f"put the masks, named like their photographs, into {folder_names} beside images/")


def _number(path: Path) -> str:
    return _SUFFIX_OF_A_SET.sub("", path.stem)


def load(path: Path, task: Task = _PHOTOGRAPHS) -> Tensor:
    """Return uint8 (3, H, W) of a photograph, or (4 or 5, H, W) with its masks, 0 and 255, as the task prepares it.

    Raises InputError for an unreadable file, UsageError for a mask that is missing or of another size.
    """
    return task.prepare(load_with_masks(path, task) if task.masks else load_sharp(path))


def load_with_masks(path: Path, task: Task) -> Tensor:
    """Return uint8 (4 or 5, H, W) of a photograph and its masks, 0 and 255, as they are; errors as of ``load``."""
    files = [mask_file(path, names) for names in task.masks]
    photo, masks = load_eight_bit(path), [(load_eight_bit(file)[:1] > 127).to(torch.uint8) * 255 for file in files]
    for file, mask in zip(files, masks, strict=True):
        if mask.shape[1:] != photo.shape[1:]:
            raise UsageError(f"{escape(file)} has not the size of its photograph", f"compare it with {escape(path)}")
    return torch.cat((photo, *masks))


def midpoints(image: Tensor) -> Tensor:
    """Return uint8 values v as (v + 1/2) / 256."""
    return (image.float() + 0.5) / 256


def as_truth(photo: Tensor) -> Tensor:
    """Return uint8 (..., C, H, W) as a task's truth: the photograph's 3 channels at midpoints, masks as 0 and 1."""
    image, masks = photo[..., :3, :, :], photo[..., 3:, :, :]
    return torch.cat((midpoints(image), (masks > 127).float()), -3)


def padded(photo: Tensor, height: int, width: int) -> Tensor:
    """Return (C, H, W) in the middle of black where it is smaller than (height, width)."""
    down, across = max(0, height - photo.shape[1]), max(0, width - photo.shape[2])
    return F.pad(photo, (across // 2, across - across // 2, down // 2, down - down // 2))


def distorted(photo: Tensor, top: int, left: int, crop: int, matrix: Tensor) -> Tensor:
    """Return the crop (C, crop, crop) of uint8 (C, H, W) whose (column, row) from its middle ``matrix`` (2, 2) turns
    into the photograph's from the middle of the crop at (top, left); black beyond the photograph, masks stay binary."""
    middle = np.array([left, top]) + (crop - 1) / 2
    turn = matrix.numpy()
    shift = middle - turn @ np.full(2, (crop - 1) / 2)
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    planes = [cv2.warpAffine(p.numpy(), np.column_stack((turn, shift)), (crop, crop), flags=how) for p in photo]
    piece = torch.from_numpy(np.stack(planes))
    piece[3:] = (piece[3:] > 127).to(torch.uint8) * 255
    return piece


@dataclass
class Crops:
    """Images in memory, cut into random square crops that depend on (seed, step) alone."""

    photos: list[Tensor]
    crop: int
    task: Task = _PHOTOGRAPHS
    flips: bool = True

    @classmethod
    def load(cls, paths: Sequence[Path], crop: int, task: Task = _PHOTOGRAPHS, flips: bool = True) -> Crops:
        """Read the files, passing over those that are unreadable or smaller than a crop."""
        readable = (photo for path in paths if (photo := _readable(path, task)) is not None)
        photos = [photo for photo in readable if task.usable(photo)]
        if task.whole:
            photos = [padded(photo, crop, crop) for photo in photos]
        photos = [photo for photo in photos if min(photo.shape[1:]) >= crop]
        if not photos:
            what = f"no readable image is at least {crop} pixels wide and high"
            raise UsageError(what, "give larger images or a smaller crop")
        return cls(photos, crop, task, flips)

    def batch(self, count: int, generator: torch.Generator) -> Tensor:
        """Return truths (count, C, crop, crop); images are drawn in proportion to the root of their area."""
        areas = torch.tensor([float(photo[0].numel()) for photo in self.photos]).sqrt()
        chosen = torch.multinomial(areas, count, replacement=True, generator=generator)
        return as_truth(torch.stack([self._crop(self.photos[i], generator) for i in chosen.tolist()]))

    def middles(self, count: int, side: int) -> list[Tensor]:
        """Return the central (1, C, side, side), or what there is of it, of ``count`` photos spread over the list."""
        chosen = self.photos[:: max(1, len(self.photos) // count)][:count]
        sides = [min(side, *photo.shape[1:]) for photo in chosen]
        return [as_truth(middle(photo, kept, kept)[None]) for photo, kept in zip(chosen, sides, strict=True)]

    def _crop(self, photo: Tensor, generator: torch.Generator) -> Tensor:
        draws = torch.rand(5, generator=generator).tolist()
        top, left = (int(d * (side - self.crop + 1)) for d, side in zip(draws, photo.shape[1:], strict=False))
        matrix = self.task.distortion(generator)
        if matrix is None:
            piece = photo[:, top : top + self.crop, left : left + self.crop]
        else:
            piece = distorted(photo, top, left, self.crop, matrix)
        if not self.flips:
            return piece
        flips = [axis for axis, draw in ((1, draws[2]), (2, draws[3])) if draw < 0.5]
        piece = piece.flip(flips) if flips else piece
        return piece.transpose(1, 2) if draws[4] < 0.5 else piece


def centres(paths: Sequence[Path], size: tuple[int, int] | None, count: int, task: Task = _PHOTOGRAPHS) -> list[Tensor]:
    """Return the central (1, C, height, width) of up to ``count`` truths, in the order of the hashes of their files.

    Files that are smaller are passed over; without a size truths are whole.
    """
    found: list[Tensor] = []
    for path in in_order(paths):
        photo = _readable(path, task) if len(found) < count else None
        if photo is not None and size is not None:
            photo = middle(photo, *size)
        if photo is not None and (size is None or tuple(photo.shape[1:]) == size):
            found.append(as_truth(photo[None]))
    return found


def middle(photo: Tensor, height: int, width: int) -> Tensor:
    """Return the central (..., height, width) of (..., H, W), or what there is of it on the side that is shorter."""
    top, left = (max(0, (side - kept) // 2) for side, kept in zip(photo.shape[-2:], (height, width), strict=True))
    return photo[..., top : top + height, left : left + width]


def _readable(path: Path, task: Task) -> Tensor | None:
    try:
        return load(path, task)
    except InputError:
        return None
