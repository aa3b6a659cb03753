"""Little pictures of every kind."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageCms

from cflowtool.images import Picture

Make = Callable[..., Picture]


@pytest.fixture(scope="session")
def icc() -> bytes:
    """An ICC profile of sRGB."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture(scope="session")
def exif_block() -> bytes:
    """EXIF with a maker, an exposure time and GPS."""
    tags = Image.Exif()
    tags[271], tags[274] = "Maker", 1
    tags.get_ifd(0x8769)[33434] = 0.5
    tags.get_ifd(0x8825)[1] = "N"
    return tags.tobytes()


@pytest.fixture(scope="session")
def make() -> Make:
    """make(bits, channels, alpha, size, **metadata) -> Picture of random levels, the extremes among them."""

    def one(
        bits: int = 8, channels: int = 3, alpha: bool = False, size: tuple[int, int] = (7, 5), **rest: object
    ) -> Picture:
        kind = np.uint8 if bits == 8 else np.uint16
        values = np.random.default_rng(0).integers(0, 2**bits, (*size, channels + alpha), dtype=kind)
        values[0, 0], values[-1, -1] = 0, 2**bits - 1
        return Picture(values[..., :channels], values[..., -1] if alpha else None, **rest)  # type: ignore[arg-type]

    return one
