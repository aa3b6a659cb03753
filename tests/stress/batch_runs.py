"""The long forms of tests/cli/test_interruption.py.

python tests/stress/batch_runs.py kills [N]     SIGKILLs at random times of runs over 30 images (100)
python tests/stress/batch_runs.py soak [N]      small images in one process, and how its memory grows (2000)
"""

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from cflowtool import images
from tests.conftest import RECIPE, write_weight
from tests.forked import Forks, forking

WATCH = """
from pathlib import Path
from cflowtool.cli.account import Account
add = Account.add
def watched(self, outcome):
    add(self, outcome)
    with open("pages", "a") as file:
        file.write(Path("/proc/self/statm").read_text().split()[1] + "\\n")
Account.add = watched
"""
SETTLED = 100


def prepare(folder: Path, count: int) -> list[object]:
    """Write a weight and images of five sizes, and return the words of a run over them."""
    write_weight(folder / "tiny.safetensors", RECIPE, seed=5)
    noise = np.random.default_rng(0)
    (folder / "in").mkdir()
    for k in range(count):
        pixels = noise.integers(0, 256, (40 + k % 5, 48, 3), dtype=np.uint8)
        images.write(folder / f"in/{k:04}.png", images.Picture(pixels))
    return ["super-resolve", "in", "--model", "tiny.safetensors", "--samples", 2]


def files(folder: Path) -> dict[str, bytes]:
    """Return what is in a folder and below, by name, without what a killed process was writing."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".part"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def kills(forks: Forks, folder: Path, count: int) -> dict[str, object]:
    """Kill `count` runs; all files are whole each time, and all are there whenever a run comes to its end."""
    words = prepare(folder, 30)
    whole = forks.start(folder, [*words, "-o", "whole"])
    assert whole.wait() == 0
    took, expected = time.perf_counter() - whole.started, files(folder / "whole")
    chance, killed, finished, left = random.Random(1), 0, 0, []
    while killed < count:
        run = forks.start(folder, [*words, "--skip-existing"])
        time.sleep(took * chance.uniform(0, 0.6))
        run.signal(signal.SIGKILL)
        code = run.wait()
        assert files(folder / "out").items() <= expected.items()
        killed += code == -signal.SIGKILL
        if code != 0:
            left.append(len(list((folder / "out").rglob("*.part"))))
            continue
        assert files(folder / "out") == expected and not list((folder / "out").rglob("*.part"))
        finished += 1
        shutil.rmtree(folder / "out")
    assert forks.start(folder, [*words, "--skip-existing"]).wait() == 0
    assert files(folder / "out") == expected and forks.left() == []
    return {"killed": killed, "finished between": finished, "kills that left a temporary file": sum(map(bool, left))}


def soak(forks: Forks, folder: Path, count: int) -> dict[str, object]:
    """Restore many images in one process; the growth is that of the largest resident set after the first hundred."""
    words = prepare(folder, count)
    run = forks.start(folder, [*words[:-2], "--quiet"], WATCH)
    assert run.wait() == 0
    pages = [int(line) for line in (folder / "pages").read_text("ascii").split()]
    mebibytes = [number * os.sysconf("SC_PAGESIZE") / 2**20 for number in pages]
    growth = max(mebibytes[SETTLED:]) - mebibytes[SETTLED]
    assert len(mebibytes) == count and growth < 50
    seconds = time.perf_counter() - run.started
    return {"images": count, "MiB after 100": round(mebibytes[SETTLED]), "growth MiB": round(growth, 1),
            "seconds": round(seconds)}  # fmt: skip


def main() -> None:
    """Run one of the two and print what was found."""
    what, *number = sys.argv[1:]
    run, count = {"kills": (kills, 100), "soak": (soak, 2000)}[what]
    with tempfile.TemporaryDirectory() as folder, forking() as forks:
        print(json.dumps(run(forks, Path(folder), int(number[0]) if number else count)))


if __name__ == "__main__":
    main()
