"""The process that images are decoded in when they may be hostile, and the messages that it and its owner exchange."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np

from cflowtool.errors import InputError, escape
from cflowtool.images.here import decode
from cflowtool.images.picture import Array, Limits, Picture

try:
    import resource
except ImportError:  # Windows, where memory and time are not limited
    resource = None  # type: ignore[assignment]

# A decoded pixel is held several times at up to 8 bytes: by Pillow, by OpenCV, upright, and as what is sent.
BYTES_PER_PIXEL = 32
SPARE = 512 * 2**20
PATIENCE = 4
BLOCKS = ("icc", "exif", "xmp")

Part = bytes | bytearray | memoryview


def send(stream: IO[bytes], head: dict[str, Any], parts: Sequence[Part] = ()) -> None:
    """Writes a JSON object and blocks of bytes: the lengths first, then each of them."""
    text = json.dumps({**head, "parts": [len(part) for part in parts]}).encode("ascii")
    stream.write(len(text).to_bytes(8, "little") + text)
    for part in parts:
        stream.write(part)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], list[bytearray]]:
    """Reads what `send` wrote; raises EOFError when the other side has ended."""
    head = json.loads(_exactly(stream, int.from_bytes(_exactly(stream, 8), "little")))
    return head, [_exactly(stream, length) for length in head.pop("parts")]


def packed(picture: Picture) -> tuple[dict[str, Any], list[Part]]:
    """A picture as `send` takes it."""
    has = [getattr(picture, name) is not None for name in BLOCKS]
    head = {"shape": picture.pixels.shape, "bits": picture.bits, "alpha": picture.alpha is not None, "has": has}
    head |= {"text": picture.text, "notes": picture.notes}
    blocks = [getattr(picture, name) or b"" for name in BLOCKS]
    return head, [*blocks, *(_bytes(a) for a in (picture.pixels, picture.alpha) if a is not None)]


def unpacked(head: dict[str, Any], parts: list[bytearray], name: str) -> Picture:
    """The picture of what `packed` made."""
    kind = np.uint16 if head["bits"] == 16 else np.uint8
    blocks = [bytes(part) if has else None for part, has in zip(parts, head["has"], strict=False)]
    pixels, *alpha = (np.frombuffer(part, kind) for part in parts[len(BLOCKS) :])
    height, width, _ = head["shape"]
    clear = alpha[0].reshape(height, width) if head["alpha"] else None
    picture = Picture(pixels.reshape(head["shape"]), clear, text=head["text"], source=name, notes=head["notes"])
    picture.icc, picture.exif, picture.xmp = blocks
    return picture


def main() -> None:
    """Answers one request after the other until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whatever a decoder prints to standard output must not end up among the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            head, (data,) = receive(sys.stdin.buffer)
            send(answers, *_answer(bytes(data), Limits(**head["limits"]), head["name"]))


def request(data: Part, limits: Limits, name: str) -> tuple[dict[str, Any], list[Part]]:
    """The message that asks for an image."""
    return {"limits": asdict(limits), "name": name}, [data]


def _answer(data: bytes, limits: Limits, name: str) -> tuple[dict[str, Any], list[Part]]:
    try:
        with _bounded(limits):
            return packed(decode(data, limits, name))
    except InputError as error:
        return {"error": [error.what, error.hint, error.reason]}, []
    except MemoryError:
        return {"error": [f"{escape(name)}: decoding it takes too much memory", "make it smaller", "too-large"]}, []


@contextlib.contextmanager
def _bounded(limits: Limits) -> Iterator[None]:
    """Lets the system end this process after so many seconds of work, and refuse it memory beyond any need."""
    if resource is None:
        yield
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = int(limits.megapixels * 1e6 * BYTES_PER_PIXEL + limits.mebibytes * 2**20) + SPARE
    with contextlib.suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + most, hard))
    signal.setitimer(signal.ITIMER_PROF, limits.seconds)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE * limits.seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _exactly(stream: IO[bytes], length: int) -> bytearray:
    found = bytearray(length)
    view, at = memoryview(found), 0
    while at < length:
        count = stream.readinto(view[at:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        at += count
    return found


def _bytes(values: Array) -> memoryview:
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
