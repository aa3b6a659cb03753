"""Images as files and as tensors: reading, writing, and the step between stored levels and y in (0, 1)."""

from cflowtool.images.picture import Limits, Picture
from cflowtool.images.read import read
from cflowtool.images.values import bicubic_resize, from_tensor, quantise, to_tensor, with_pixels
from cflowtool.images.write import write, write_bytes

__all__ = [
    "Limits",
    "Picture",
    "bicubic_resize",
    "from_tensor",
    "quantise",
    "read",
    "to_tensor",
    "with_pixels",
    "write",
    "write_bytes",
]
