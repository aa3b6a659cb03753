"""The header of a safetensors file: what is in it and where, refused unless it is one without any doubt."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from typing import Any

import torch

# Three times what the largest model of the papers needs; parsed JSON takes twenty times its length in memory.
LARGEST = 4 * 2**20
MOST_TENSORS = 20_000
MOST_AXES = 8
DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Header:
    """The text entries of a file, and dtype and shape of each of its tensors."""

    metadata: dict[str, str]
    tensors: dict[str, tuple[torch.dtype, Shape]]

    @property
    def values(self) -> int:
        """The number of values in all tensors."""
        return sum(prod(shape) for _, shape in self.tensors.values())


def strict_json(text: str | bytes) -> Any:
    """Return what a JSON text says; raise ValueError for a key that occurs twice, NaN, infinity and deep nesting."""
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None


def length(start: bytes) -> int:
    """Return the number of bytes that a file's first eight, its own length, and its header take."""
    if len(start) < 8 or (found := int.from_bytes(start[:8], "little")) > LARGEST:
        raise ValueError("it is not a safetensors file")
    return 8 + found


def parse(start: bytes, size: int) -> Header:
    """Return the header that the first bytes of a file of ``size`` bytes hold.

    Raises ValueError unless its tensors have names, known dtypes and sensible shapes, and cover the rest of the file
    without gap or overlap.
    """
    end = length(start)
    if end > min(len(start), size):
        raise ValueError("it is cut short")
    entries = strict_json(start[8:end].decode("utf-8"))
    if not isinstance(entries, dict):
        raise ValueError("its header is not an object")
    metadata = entries.pop("__metadata__", {})
    if not _is_text(metadata):
        raise ValueError("its metadata are not text")
    if not 0 < len(entries) <= MOST_TENSORS:
        raise ValueError(f"it has {len(entries)} tensors")
    tensors, spans = {}, []
    for name, entry in entries.items():
        tensors[name], span = _tensor(name, entry)
        spans.append(span)
    _check_spans(spans, size - end)
    return Header(metadata, tensors)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} stands in its JSON")


def _is_text(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _tensor(name: str, entry: object) -> tuple[tuple[torch.dtype, Shape], tuple[int, int]]:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"its entry {name} is no tensor")
    dtype, shape, span = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"tensor {name} has no known type")
    if not _is_counts(shape) or len(shape) > MOST_AXES or not _is_counts(span) or len(span) != 2:
        raise ValueError(f"tensor {name} has no shape or no place")
    if span[1] - span[0] != prod(shape) * DTYPES[dtype].itemsize:
        raise ValueError(f"tensor {name} has not as many bytes as its shape says")
    return (DTYPES[dtype], tuple(shape)), (span[0], span[1])


def _is_counts(value: object) -> bool:
    return isinstance(value, list) and all(type(count) is int and 0 <= count < 2**48 for count in value)


def _check_spans(spans: list[tuple[int, int]], size: int) -> None:
    at = 0
    for start, end in sorted(spans):
        if start != at:
            raise ValueError("its tensors overlap or leave a gap")
        at = end
    if at != size:
        raise ValueError("its tensors do not end where the file does")
