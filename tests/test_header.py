"""The header of a safetensors file is read as the library reads it, and refused where anything is in doubt."""

import json
import struct
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from cflowtool import header

TENSORS = {
    "a": torch.arange(6, dtype=torch.float32).view(2, 3),
    "b": torch.tensor(True),
    "c": torch.zeros(0, 4, dtype=torch.float64),
    "d": torch.arange(5, dtype=torch.int64),
}


def entry(dtype: str = "F32", shape: Any = (1,), span: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": span}


def stored(entries: Any, size: int = 4) -> bytes:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + bytes(size)


def test_a_file_of_the_library_is_read() -> None:
    data = save(TENSORS, {"key": "text"})
    found = header.parse(data, len(data))
    assert found.metadata == {"key": "text"} and found.values == 12
    assert found.tensors == {name: (value.dtype, tuple(value.shape)) for name, value in load(data).items()}


REFUSED = {
    "nothing": stored({}, 0),
    "a list": stored([]),
    "no tensor": stored({"a": 3}),
    "no type": stored({"a": entry(dtype="F31")}),
    "type not text": stored({"a": entry(dtype=[])}),  # type: ignore[arg-type]
    "shape negative": stored({"a": entry(shape=[-1])}),
    "shape true": stored({"a": entry(shape=[True])}),
    "shape fraction": stored({"a": entry(shape=[1.0])}),
    "shape text": stored({"a": entry(shape="1")}),
    "shape huge": stored({"a": entry(shape=[2**63, 2**63])}),
    "many axes": stored({"a": entry(shape=[1] * 9)}),
    "three places": stored({"a": entry(span=[0, 4, 4])}),
    "backwards": stored({"a": entry(span=[4, 0])}),
    "too short": stored({"a": entry(shape=[2])}),
    "more fields": stored({"a": {**entry(), "more": 1}}),
    "gap": stored({"a": entry(span=[4, 8])}, 8),
    "overlap": stored({"a": entry(), "b": entry()}),
    "past the end": stored({"a": entry(), "b": entry(span=[4, 8])}),
    "left over": stored({"a": entry()}, 5),
    "metadata a list": stored({"a": entry(), "__metadata__": []}),
    "metadata numbers": stored({"a": entry(), "__metadata__": {"a": 1}}),
    "twice": stored(b'{"a":%b,"a":%b}' % ((json.dumps(entry()).encode(),) * 2)),
    "not a number": stored(b'{"a":NaN}'),
    "deep": stored(b"[" * 100_000),
    "deep objects": stored(b'{"a":' * 100_000),
    "many": stored({str(k): entry(shape=[0], span=[0, 0]) for k in range(header.MOST_TENSORS + 1)}, 0),
    "not utf-8": stored(b'{"\xff":1}'),
    "long number": stored(b'{"a":' + b"9" * 10_000 + b"}"),
    "long": struct.pack("<Q", header.LARGEST + 1) + bytes(header.LARGEST + 1),
    "longer than the file": struct.pack("<Q", 1000) + b"{}",
    "endless": struct.pack("<Q", 2**64 - 1) + b"{}",
    "short": b"abc",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_doubtful_header_is_refused(kind: str) -> None:
    data = REFUSED[kind]
    with pytest.raises(ValueError, match=r"\w"):
        header.parse(data, len(data))


def test_every_cut_is_refused() -> None:
    data = save(TENSORS)
    for end in range(len(data)):
        with pytest.raises(ValueError, match=r"\w"):
            header.parse(data[:end], end)
