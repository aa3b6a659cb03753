"""From a loaded Pillow image to arrays, with OpenCV for the 16-bit colours that Pillow cannot hold."""

from __future__ import annotations

import io

import cv2
import numpy as np
from PIL import Image, ImageCms

from cflowtool.errors import InputError
from cflowtool.images.chunks import pixels_only
from cflowtool.images.exif import upright
from cflowtool.images.picture import Array, Picture

BITS_PER_SAMPLE, PHOTOMETRIC, PLANAR, EXTRA_SAMPLES = 258, 262, 284, 338
UNSUPPORTED = {"I": "32 bit pixels", "F": "floating-point pixels", "LAB": "Lab colours"}
AGAIN = "save it again as an 8 or 16 bit PNG or TIFF"


def arrays(image: Image.Image, data: bytes, turn: int) -> Picture:
    """Pixels, alpha and ICC profile of a loaded image, turned upright.

    Raises InputError for pixels that fit neither 8 nor 16 bits.
    """
    notes: list[str] = []
    icc = image.info.get("icc_profile") or None
    if image.mode == "CMYK":
        image, icc = _from_cmyk(image, icc), None
        notes.append("CMYK was converted to sRGB at 8 bits.")
    if image.mode.startswith("I;16"):
        pixels, alpha = _wide_grey(image)
    elif image.mode in UNSUPPORTED:
        raise InputError(f"{UNSUPPORTED[image.mode]} are not supported", AGAIN, "undecodable")
    elif image.mode in ("RGB", "RGBA", "LA") and _is_wide(image, data):
        pixels, alpha = _wide_colour(image, data)
    else:
        pixels, alpha = _narrow(image)
    alpha = None if alpha is None else upright(alpha, turn)
    return Picture(upright(pixels, turn), alpha, icc, notes=notes)


def texts(image: Image.Image) -> dict[str, str]:
    """The text entries of a PNG, without those that repeat EXIF or XMP."""
    entries = getattr(image, "text", {}).items()
    return {key: str(value) for key, value in entries if not key.startswith(("XML:", "Raw profile type"))}


def _is_wide(image: Image.Image, data: bytes) -> bool:
    if image.format == "PNG":
        return data[24] == 16
    return 16 in np.atleast_1d(_tag(image, BITS_PER_SAMPLE, 8))


def _tag(image: Image.Image, tag: int, default: int) -> int | tuple[int, ...]:
    value: int | tuple[int, ...] = getattr(image, "tag_v2", {}).get(tag, default)
    return value


def _from_cmyk(image: Image.Image, icc: bytes | None) -> Image.Image:
    if icc:
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            turned = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError, ValueError):
            turned = None
        if turned is not None:
            return turned
    return image.convert("RGB")


def _narrow(image: Image.Image) -> tuple[Array, Array | None]:
    grey = image.mode in ("1", "L", "LA", "La")
    clear = image.has_transparency_data
    values = np.array(image.convert({(1, 0): "L", (1, 1): "LA", (0, 0): "RGB", (0, 1): "RGBA"}[grey, clear]))
    values = values.reshape(*values.shape[:2], -1)
    return (values[..., :-1], values[..., -1]) if clear else (values, None)


def _wide_grey(image: Image.Image) -> tuple[Array, Array | None]:
    values = np.asarray(image).astype(np.uint16)
    if (bits := np.atleast_1d(_tag(image, BITS_PER_SAMPLE, 16))[0]) < 16:
        values = np.rint(values * (65535 / (2**bits - 1))).astype(np.uint16)
    if _tag(image, PHOTOMETRIC, 1) == 0:
        values = 65535 - values
    clear = image.info.get("transparency")
    alpha = None if clear is None else np.where(values == clear, 0, 65535).astype(np.uint16)
    return values[..., None], alpha


def _wide_colour(image: Image.Image, data: bytes) -> tuple[Array, Array | None]:
    if _tag(image, PLANAR, 1) == 2:
        raise InputError("16 bit TIFF with separate colour planes is not supported", AGAIN, "undecodable")
    if image.format == "PNG":
        data = pixels_only(data)
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16 or values.ndim != 3 or values.shape[1::-1] != image.size:
        raise InputError("its 16 bit pixels cannot be decoded", AGAIN, "undecodable")
    pixels, alpha = values[..., 2::-1], values[..., 3] if values.shape[2] == 4 else None
    if not image.has_transparency_data:
        alpha = None
    if image.format == "PNG" and data[25] == 4:
        pixels = pixels[..., :1]
    if alpha is not None and _tag(image, EXTRA_SAMPLES, 2) in (1, (1,)):
        pixels = _straight(pixels, alpha)
    return pixels, alpha


def _straight(pixels: Array, alpha: Array) -> Array:
    """Divides out an alpha that the colours were multiplied by."""
    share = np.maximum(alpha, 1)[..., None] / 65535
    return np.rint(np.minimum(pixels / share, 65535)).astype(np.uint16)
