"""The chunks that a PNG file is made of."""

from __future__ import annotations

from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PIXELS = (b"tRNS", b"IDAT")


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields (type, whole chunk) for every complete chunk of a PNG."""
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end <= len(data):
            yield data[at + 4 : at + 8], data[at:end]
        at = end


def pixels_only(data: bytes) -> bytes:
    """The PNG without metadata and animation, so that a second decoder sees no more of it than the first approved."""
    kept = [chunk for kind, chunk in chunks(data) if kind in PIXELS]
    header = data[len(SIGNATURE) : len(SIGNATURE) + 25]
    return b"".join([SIGNATURE, header, *kept, b"\0\0\0\0IEND\xae\x42\x60\x82"])
