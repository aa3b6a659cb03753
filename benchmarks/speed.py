"""Time one and ten ranked samples with the shipped weights; print the figures and write results/speed.json."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cflowtool.canvas import Settings
from cflowtool.cli.process import keep_buffers
from cflowtool.export import hardware
from cflowtool.images import Picture
from cflowtool.models import Sampler
from cflowtool.restorer import Restorer
from cflowtool.weights import load, registry

RESULTS = Path(__file__).parent / "results" / "speed.json"


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the median wall time of ``repeats`` runs after one that is not counted."""
    work()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def count_encodes(model: Sampler) -> list[int]:
    """Make the model count its encode calls into the list that is returned."""
    calls = [0]
    encode = model.encode

    def counted(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        calls[0] += 1
        return encode(x)

    model.encode = counted  # type: ignore[method-assign]
    return calls


def measure(name: str, path: Path, side: int, repeats: int) -> dict[str, Any]:
    """Return one weight's times for a picture of side x side pixels, as the command restores it, without the files."""
    restorer = Restorer(load(path), device="auto")
    picture = Picture(np.random.default_rng(0).integers(0, 256, (side, side, 3)).astype(np.uint8))
    one = median_seconds(lambda: restorer.restore(picture, Settings(1, 0.8)).order, repeats)
    ten = median_seconds(lambda: restorer.restore(picture, Settings(10, 0.8)).order, repeats)
    calls = count_encodes(restorer.model)
    restorer.restore(picture, Settings(10, 0.8))
    return {
        "weight": name,
        "x": f"{side} x {side}",
        "device": str(restorer.device),
        "one_sample_s": one,
        "ten_ranked_s": ten,
        "ten_over_one": ten / one,
        "each_further_over_first": (ten - one) / 9 / one,
        "encodes_for_ten": calls[0],
    }


def main() -> None:
    """Measure every bundled weight and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=256, help="height and width of x in pixels")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    keep_buffers()
    rows = [measure(name, path, options.side, options.repeats) for name, path in registry().items()]
    for row in rows:
        print({key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()})
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"hardware": hardware(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
