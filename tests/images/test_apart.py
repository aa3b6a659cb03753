"""A picture decoded apart is the same picture, and whatever ends the other process is one line about one file."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cflowtool.errors import InputError
from cflowtool.images import Limits, apart, here, read
from cflowtool.images.encode import ENCODERS

GOOD = Image.fromarray(np.arange(900, dtype=np.uint8).reshape(20, 15, 3))


def saved(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def slow() -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    data = saved(Image.new("RGB", (1000, 1000)), "JPEG", progressive=True)
    at = data.rindex(b"\xff\xda")
    return data[:at] + data[at:-2] * 3000 + b"\xff\xd9"


@pytest.fixture(autouse=True)
def guarded() -> Iterator[None]:
    """Decoding apart, as commands do."""
    apart.guard()
    yield
    apart.guard(False)


def same(first: Any, second: Any) -> bool:
    pixels = np.array_equal(first.pixels, second.pixels) and np.array_equal(first.alpha, second.alpha)
    names = ("bits", "icc", "exif", "xmp", "text", "source", "notes")
    return pixels and all(getattr(first, name) == getattr(second, name) for name in names)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_picture_is_the_same(
    make: Any, icc: bytes, exif_block: bytes, bits: int, alpha: bool, channels: int
) -> None:
    picture = make(bits, channels, alpha, icc=icc, exif=exif_block, xmp=b"<x/>", text={"a": "ü\n"})
    data = ENCODERS[".png"](picture, {}, 95)
    assert same(read(data, name="n\udcff"), here.decode(data, Limits(), "n\udcff"))


def test_an_empty_block_is_not_none() -> None:
    found = read(saved(GOOD))
    assert (found.icc, found.exif, found.xmp, found.alpha) == (None, None, None, None)


@pytest.mark.parametrize("data", [b"text", saved(GOOD)[:100], saved(Image.new("F", (4, 4)), "TIFF")])
def test_errors_are_the_same(data: bytes) -> None:
    with pytest.raises(InputError) as apart_from_here:
        read(data, name="\x1b.png")
    with pytest.raises(InputError) as at_home:
        here.decode(data, Limits(), "\x1b.png")
    assert vars(apart_from_here.value) == vars(at_home.value)


def test_limits_are_handed_on() -> None:
    with pytest.raises(InputError, match="a side"):
        read(saved(GOOD), Limits(side=14))


def test_what_takes_too_long_is_ended_and_the_next_is_read() -> None:
    with pytest.raises(InputError, match=r"more than 0\.3 seconds") as caught:
        read(slow(), Limits(seconds=0.3), "slow.jpg")
    assert caught.value.reason == "too-large" and "slow.jpg" in caught.value.what
    assert read(saved(GOOD)).size == (20, 15)


def test_what_takes_too_much_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    apart.close()
    tight = "from cflowtool.images import worker; worker.SPARE = worker.BYTES_PER_PIXEL = 0; "
    monkeypatch.setattr(apart, "CODE", apart.CODE.replace("from ", tight + "from ", 1))
    with pytest.raises(InputError, match="memory") as caught:
        read(saved(Image.new("RGB", (5000, 5000))), Limits(mebibytes=1))
    assert caught.value.reason == "too-large"
    assert read(saved(GOOD), Limits(mebibytes=1)).size == (20, 15)


@pytest.mark.parametrize("code", ["import os; os.abort()", "import sys; sys.exit(3)", "import os; os.kill(0, 9)"])
def test_a_crash_costs_one_file(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    apart.close()
    with monkeypatch.context() as patch:
        patch.setattr(apart, "CODE", code.replace("os.kill(0", "os.kill(os.getpid()"))
        with pytest.raises(InputError, match=r"bad\.png: its decoder crashed"):
            read(saved(GOOD), name="bad.png")
    assert read(saved(GOOD)).size == (20, 15)


def test_a_process_that_died_in_between_is_started_again() -> None:
    read(saved(GOOD))
    assert apart._process
    apart._process.kill()
    apart._process.wait()
    assert read(saved(GOOD)).size == (20, 15)


def test_an_interrupt_leaves_no_half_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(apart.worker, "receive", interrupt)
        read(saved(GOOD), name="first")
    assert read(saved(Image.new("L", (3, 2)))).size == (2, 3)


def test_without_processes_it_decodes_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> None:
        raise OSError("no more processes")

    apart.close()
    monkeypatch.setattr(subprocess, "Popen", none)
    assert read(saved(GOOD)).size == (20, 15)


def test_it_ends_with_its_owner_and_ignores_the_interrupts_meant_for_it() -> None:
    code = (
        "import time; from cflowtool.images import apart; apart.guard(); "
        "print(apart._process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as owner:
        assert owner.stdout
        other = int(owner.stdout.readline())
        owner.kill()
    until = time.monotonic() + 60
    while time.monotonic() < until and _runs(other):
        time.sleep(0.05)
    assert not _runs(other)
    assert apart._process
    read(saved(GOOD))
    os.kill(apart._process.pid, signal.SIGINT)
    process = apart._process
    assert read(saved(GOOD)).size == (20, 15) and apart._process is process


def _runs(number: int) -> bool:
    try:
        state = Path(f"/proc/{number}/stat").read_text("ascii").rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"
