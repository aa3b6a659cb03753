"""What the two processes say to each other arrives whole or not at all."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cflowtool.images import Limits, worker

ROOT = Path(__file__).parents[2]


def sent(head: dict[str, Any], *parts: bytes) -> bytes:
    stream = io.BytesIO()
    worker.send(stream, head, parts)
    return stream.getvalue()


def test_messages_come_one_after_the_other() -> None:
    stream = io.BytesIO(sent({"a": "\udcff\n"}, b"", b"x" * 70000) + sent({}))
    assert worker.receive(stream) == ({"a": "\udcff\n"}, [b"", b"x" * 70000])
    assert worker.receive(stream) == ({}, [])
    with pytest.raises(EOFError):
        worker.receive(stream)


def test_half_a_message_is_the_end() -> None:
    whole = sent({"a": 1}, b"12345")
    for cut in range(len(whole)):
        with pytest.raises(EOFError):
            worker.receive(io.BytesIO(whole[:cut]))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("alpha", [False, True])
def test_pictures_are_packed_without_loss(make: Any, bits: int, alpha: bool) -> None:
    picture = make(bits, 3, alpha, exif=b"", text={"a": "b"}, notes=["note."])
    head, parts = worker.receive(io.BytesIO(sent(*_flat(worker.packed(picture)))))
    back = worker.unpacked(head, parts, "name")
    assert np.array_equal(back.pixels, picture.pixels) and np.array_equal(back.alpha, picture.alpha)
    assert (back.icc, back.exif, back.xmp, back.text, back.notes) == (None, b"", None, {"a": "b"}, ["note."])
    assert back.bits == bits and back.source == "name" and back.pixels.flags.writeable


def _flat(packed: tuple[dict[str, Any], list[Any]]) -> Any:
    return packed[0], *packed[1]


def test_it_answers_until_its_input_ends_and_imports_no_torch(make: Any) -> None:
    code = (
        "import sys; from cflowtool.images.worker import main; main(); "
        "sys.stderr.write('torch' if 'torch' in sys.modules else 'done')"
    )
    question = worker.request(b"text", Limits(), "a.png")
    given = sent(*_flat(question)) * 2
    result = subprocess.run([sys.executable, "-c", code], input=given, capture_output=True, cwd=ROOT, check=True)
    answers = io.BytesIO(result.stdout)
    for _ in range(2):
        head, _parts = worker.receive(answers)
        assert head["error"][0] == "a.png: it is not an image of a known format"
    assert answers.read() == b"" and result.stderr == b"done"
