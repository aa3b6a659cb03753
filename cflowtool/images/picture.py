"""A decoded image together with all that has to survive into its result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cflowtool.errors import InputError

Array = NDArray[Any]
SMALLER = "make it smaller first, or raise the limit"


@dataclass(frozen=True)
class Limits:
    """What is refused: more megapixels, longer sides in pixels, larger files in MiB, more seconds of decoding."""

    megapixels: float = 60
    side: int = 32768
    mebibytes: float = 256
    seconds: float = 20

    def check(self, height: int, width: int) -> None:
        """Raises InputError for a picture of more pixels."""
        if max(height, width) > self.side:
            raise InputError(f"{width} x {height} pixels, the limit is {self.side} a side", SMALLER, "too-large")
        if width * height > self.megapixels * 1e6:
            megapixels = f"{width * height / 1e6:.1f} megapixels"
            raise InputError(f"{megapixels}, the limit is {self.megapixels:g}", SMALLER, "too-large")


@dataclass
class Picture:
    """Stored levels and metadata: pixels (H, W, 3) RGB or (H, W, 1) grey, alpha (H, W), both uint8 or both uint16.

    `exif` begins with "Exif\\0\\0" and its orientation is 1, already applied to the pixels, as is that of the packet
    `xmp`; `text` holds the entries of a PNG; `notes` says in whole sentences what reading or writing could not keep.
    Raises ValueError on other arrays.
    """

    pixels: Array
    alpha: Array | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    text: dict[str, str] = field(default_factory=dict)
    source: str = ""
    notes: list[str] = field(default_factory=list)
    xmp: bytes | None = None

    def __post_init__(self) -> None:
        shape, kind = self.pixels.shape, self.pixels.dtype
        if len(shape) != 3 or shape[2] not in (1, 3) or min(shape) < 1 or kind not in (np.uint8, np.uint16):
            raise ValueError(f"pixels must be uint8 or uint16 (H, W, 1 or 3), not {kind} {shape}")
        if self.alpha is not None and (self.alpha.shape != shape[:2] or self.alpha.dtype != kind):
            raise ValueError(f"alpha {self.alpha.dtype} {self.alpha.shape} does not fit pixels {kind} {shape}")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def grey(self) -> bool:
        """Whether one channel is stored."""
        return bool(self.pixels.shape[2] == 1)

    @property
    def bits(self) -> int:
        """8 or 16."""
        return 8 * self.pixels.dtype.itemsize

    @property
    def levels(self) -> int:
        """256 or 65536."""
        return 1 << self.bits

    def note(self, sentence: str) -> None:
        """Adds `sentence` to the notes, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)
