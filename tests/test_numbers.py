"""What numbers depend on, and what they do not: threads, tiles, the order of files, the device."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from cflowtool import images, weights
from cflowtool.canvas import Restoration, Settings
from cflowtool.restorer import Restorer

Photo = Callable[..., Path]
ROOT = Path(__file__).parent.parent
PHOTO = ROOT / "tests" / "data" / "photo" / "brushes.png"
SETTINGS = Settings(2, 0.8, 5)


@contextmanager
def threads(count: int, deterministic: bool) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with torch.backends.mkldnn.flags(enabled=not deterministic):
            yield
    finally:
        torch.set_num_threads(before)


def values(made: Restoration) -> list[tuple[bytes, float]]:
    assert made.log_prob is not None
    return [(p.pixels.tobytes(), score) for p, score in zip(made.pictures, made.log_prob, strict=True)]


@pytest.mark.parametrize("task", ["super-resolve", "denoise", "colorize"])
def test_deterministic_results_have_the_same_bits_for_one_thread_and_two(
    task: str, tiny_weight: Path, small_weights: dict[str, Path], photo: Photo, tmp_path: Path
) -> None:
    loaded = weights.load(small_weights.get(task, tiny_weight))
    pictures = [images.read(photo(tmp_path / f"{k}.png", height=30, width=50, seed=k)) for k in range(2)]
    found = []
    for count in (1, 2):
        with threads(count, deterministic=True):
            restorer = Restorer(loaded, "cpu")
            found.append([values(restorer.restore(picture, SETTINGS)) for picture in pictures])
            found.append([values(restorer.restore(picture, SETTINGS)) for picture in reversed(pictures)][::-1])
            found.append([values(made) for made in restorer.restore_many(pictures, SETTINGS, [None] * 2)])
    assert all(other == found[0] for other in found[1:])


def test_deterministic_results_are_the_same_in_tiles_that_cover_the_receptive_field(
    tiny_weight: Path, photo: Photo, tmp_path: Path
) -> None:
    loaded, picture = weights.load(tiny_weight), images.read(photo(tmp_path / "x.png", height=110, width=90))
    assert loaded.model.reach <= 24
    with threads(1, deterministic=True):
        made = [Restorer(loaded, "cpu", tile=tile).restore(picture, SETTINGS) for tile in ("off", "76", "90")]
    assert [m.tiled for m in made] == [False, True, True]
    for other in made[1:]:
        assert [pixels for pixels, _ in values(other)] == [pixels for pixels, _ in values(made[0])]
        assert other.log_prob == pytest.approx(made[0].log_prob, rel=1e-6)


def test_by_default_two_threads_change_one_level_of_one_value_in_ten_thousand_at_most() -> None:
    loaded, picture = weights.load(ROOT / "weights" / "super-resolve-cnf-x2.safetensors"), images.read(PHOTO)
    found = []
    for count in (1, 2):
        with threads(count, deterministic=False):
            found.append(Restorer(loaded, "cpu").restore(picture, Settings(1, 0.8, 1)).pictures[0].pixels.astype(int))
    difference = np.abs(found[0] - found[1])
    assert difference.max() <= 1 and (difference > 0).mean() <= 1e-4


def test_the_command_writes_the_same_bytes_for_one_thread_and_two(
    tiny_weight: Path, photo: Photo, tmp_path: Path
) -> None:
    photo(tmp_path / "x.png", height=40, width=60)
    words = ["super-resolve", str(tmp_path / "x.png"), "--model", str(tiny_weight), "--samples", "2", "--deterministic"]
    found = []
    for count in ("1", "2"):
        out = tmp_path / count
        environment = {**os.environ, "OMP_NUM_THREADS": count, "OMP_WAIT_POLICY": "PASSIVE"}
        command = [sys.executable, "-m", "cflowtool", *words, "-o", str(out), "--device", "cpu", "--quiet"]
        subprocess.run(command, check=True, cwd=ROOT, env=environment, capture_output=True)
        found.append({path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()})
    assert len(found[0]) == 3 and found[0] == found[1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("name", ["super-resolve-cnf-x2", "denoise-cnf", "colorize-caflow"])
def test_a_gpu_gives_what_the_cpu_gives_to_one_grey_level(name: str) -> None:
    loaded, picture = weights.load(ROOT / "weights" / f"{name}.safetensors"), images.read(PHOTO)
    cpu, gpu = (Restorer(loaded, device).restore(picture, SETTINGS) for device in ("cpu", "cuda"))
    for one, other in zip(cpu.pictures, gpu.pictures, strict=True):
        assert (np.abs(one.pixels.astype(int) - other.pixels) <= 1).mean() >= 0.999
    assert gpu.log_prob == pytest.approx(cpu.log_prob, rel=1e-4)
