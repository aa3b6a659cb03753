"""The tasks: what is degraded, what is restored, and how the result becomes an image."""

from .base import Task
from .colorize import Colorize
from .decompress import Decompress
from .denoise import Denoise
from .inpaint import Inpaint
from .segment import Segment
from .segment_vessels import SegmentVessels
from .super_resolve import SuperResolve

TASKS: dict[str, type[Task]] = {
    "super-resolve": SuperResolve,
    "denoise": Denoise,
    "colorize": Colorize,
    "inpaint": Inpaint,
    "decompress": Decompress,
    "segment": Segment,
    "segment-vessels": SegmentVessels,
}

__all__ = [
    "TASKS",
    "Colorize",
    "Decompress",
    "Denoise",
    "Inpaint",
    "Segment",
    "SegmentVessels",
    "SuperResolve",
    "Task",
]
