"""Whole commands, from start to files on disk: start-up, one photo, a folder of small images, a large picture."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cflowtool.export import hardware

ROOT = Path(__file__).parent.parent
STAGED = str(Path(__file__).parent / "staged.py")
PHOTO, SMALL, COUNT, WHOLE = 512, 64, 200, (3000, 4000)
COMMANDS = {
    "denoise-cnf": ["denoise", "--sigma", "25"],
    "super-resolve-cnf-x2": ["super-resolve"],
    "super-resolve-cnf-x4": ["super-resolve", "--scale", "4"],
    "colorize-caflow": ["colorize"],
    "segment-vessels-cnf": ["segment-vessels", "--fov", "none"],
}

Row = dict[str, Any]


def waves(height: int, width: int) -> Image.Image:
    """Return a picture of slow waves with grain of 8 levels."""
    rows, columns = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)
    random = np.random.default_rng(0)
    planes = [
        128 + 60 * np.sin(rows / (97 + k)) * np.cos(columns / (131 + k)) + random.normal(0, 8, (height, width))
        for k in range(3)
    ]
    return Image.fromarray(np.stack(planes, -1).clip(0, 255).astype(np.uint8))


def timed_command(arguments: list[str], threads: int) -> tuple[float, str]:
    """Return the wall time from start to end of a Python command, and what stood on stderr."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=True)
    return time.perf_counter() - started, done.stderr


def staged(arguments: list[str], threads: int) -> Row:
    """Return the seconds of a command from start to end and what ``staged.py`` says of its stages."""
    seconds, text = timed_command([STAGED, *arguments], threads)
    return {"seconds": seconds} | json.loads(text.splitlines()[-1])


def _row(name: str, part: str, threads: int) -> Row:
    return {"name": name, "part": part, "device": "cpu", "threads": threads, "hardware": hardware()}


def start_rows(threads: int, repeats: int) -> list[Row]:
    """Return rows of start-up alone."""
    start = {"cflow --help": ["-m", "cflowtool", "--help"], "import torch": ["-c", "import torch"]}
    times = {name: statistics.median(timed_command(w, threads)[0] for _ in range(repeats)) for name, w in start.items()}
    return [_row(name, "start", threads) | {"seconds": seconds} for name, seconds in times.items()]


def photo_rows(threads: int, repeats: int) -> list[Row]:
    """Return a row of one photo for every weight."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        waves(PHOTO, PHOTO).save(Path(folder) / "photo.png")
        for name, words in COMMANDS.items():
            line = ["-m", "cflowtool", *words, f"{folder}/photo.png", "-o", f"{folder}/out", "--overwrite"]
            seconds = statistics.median(timed_command(line, threads)[0] for _ in range(repeats))
            rows.append(_row(name, "photo", threads) | {"seconds": seconds})
    return rows


def folder_row(threads: int, quick: bool) -> Row:
    """Return the row of a folder of small images, and what share of the time the model was at work."""
    with tempfile.TemporaryDirectory() as folder:
        many, image = Path(folder) / "many", waves(SMALL + COUNT, SMALL)
        many.mkdir()
        for k in range(COUNT // (10 if quick else 1)):
            image.crop((0, k, SMALL, k + SMALL)).save(many / f"{k:03}.png")
        found = staged(["denoise", "--sigma", "25", str(many), "-o", f"{folder}/out"], threads)
        busy = (found["stages"]["encode"] + found["stages"]["decode"]) / found["seconds"]
        return _row("denoise-cnf", "folder", threads) | found | {"images": len(list(many.iterdir())), "busy": busy}


def whole_row(name: str, threads: int, precision: str) -> Row:
    """Return the row of one picture of 12 megapixels."""
    with tempfile.TemporaryDirectory() as folder:
        waves(*WHOLE).save(Path(folder) / "photo.jpg", quality=95)
        line = [*COMMANDS[name], f"{folder}/photo.jpg", "-o", f"{folder}/out.png", "--precision", precision]
        found = staged(line, threads)
    megapixels = WHOLE[0] * WHOLE[1] / 1e6
    return _row(name, "whole", threads) | found | {"precision": precision, "megapixels": megapixels}
