"""Images as files and as tensors: reading, writing, and the step between stored levels and y in (0, 1)."""

from cflowtool.images.apart import guard
from cflowtool.images.picture import Limits, Picture
from cflowtool.images.read import content, read
from cflowtool.images.values import bicubic_resize, from_tensor, quantise, to_tensor, with_pixels
from cflowtool.images.write import write, write_bytes

__all__ = [
    "Limits",
    "Picture",
    "bicubic_resize",
    "content",
    "from_tensor",
    "guard",
    "quantise",
    "read",
    "to_tensor",
    "with_pixels",
    "write",
    "write_bytes",
]
