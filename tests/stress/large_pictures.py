"""The peak of memory of every command with pictures of 60 megapixels, in or out; it is to stay below 4 GiB.

python tests/stress/large_pictures.py [TASK ...]     minutes a task
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from cflowtool import images

LIMIT = 4.0
HOLES = [(1000, 1060, 2000, 2300), (4000, 4200, 8000, 8100)]
COMMANDS: dict[str, tuple[str, ...]] = {
    "colorize": ("large.jpg",),
    "segment-vessels": ("retina.jpg",),
    "inpaint": ("large.jpg", "--mask", "holes.png"),
    "super-resolve": ("quarter.jpg",),
    "denoise": ("large.jpg",),
}


def waves(height: int, width: int) -> np.ndarray:
    """Return a smooth picture with grain."""
    rows, columns = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)
    found, random = np.empty((height, width, 3), np.uint8), np.random.default_rng(0)
    for k in range(3):
        grain = random.normal(0, 8, (height, width)).astype(np.float32)
        found[..., k] = (128 + 60 * np.sin(rows / (97 + k)) * np.cos(columns / (131 + k)) + grain).clip(0, 255)
    return found


def write(folder: Path) -> None:
    """Write the pictures of all commands."""
    large, hole = waves(6000, 10_000), np.zeros((6000, 10_000, 1), np.uint8)
    rows, columns = np.arange(-3000, 3000)[:, None], np.arange(-5000, 5000)
    for top, bottom, left, right in HOLES:
        hole[top:bottom, left:right] = 255
    images.write(folder / "large.jpg", images.Picture(large))
    images.write(folder / "quarter.jpg", images.Picture(large[:3000, :5000].copy()))
    images.write(folder / "holes.png", images.Picture(hole))
    large[rows**2 + columns**2 > 2800**2] = 0
    images.write(folder / "retina.jpg", images.Picture(large))


def main() -> int:
    """Run the commands one after the other and print what each took; return how many took too much or failed."""
    bad = 0
    with tempfile.TemporaryDirectory() as name:
        write(Path(name))
        for task in sys.argv[1:] or COMMANDS:
            start, words = time.time(), [task, *COMMANDS[task], "-o", task]
            code = subprocess.call([sys.executable, str(Path(__file__)), "--alone", *words], cwd=name)
            print(f"{task}: {time.time() - start:.0f} s, exit code {code}", flush=True)
            bad += code != 0
    return bad


def alone(words: list[str]) -> int:
    """Run one command, print its peak, and return 1 if it is too much."""
    from cflowtool.cli.main import run

    code = run(words)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{words[0]}: peak {used:.2f} GiB", flush=True)
    return int(code != 0 or used > LIMIT)


if __name__ == "__main__":
    sys.exit(alone(sys.argv[2:]) if sys.argv[1:2] == ["--alone"] else main())
