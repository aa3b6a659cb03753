"""The XMP packet, which says how an image was made and by whom."""

from __future__ import annotations

import re

from PIL import Image

TIFF_TAG = 700
PNG_CHUNK = b"XML:com.adobe.xmp\0\0\0\0\0"
LIMIT_JPEG = 65504
_ORIENTATION = re.compile(rb'(tiff:Orientation(?:\s*=\s*["\']|>)\s*)[0-9]')


def carried(image: Image.Image) -> bytes | None:
    """The packet of an image, byte for byte save for an orientation, which becomes 1; None without one."""
    packet = image.info.get("xmp")
    if not isinstance(packet, bytes) or not packet:
        return None
    return _ORIENTATION.sub(rb"\g<1>1", packet)
