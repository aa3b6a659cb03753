"""Time encoding, decoding and ranked sampling of the shipped weights; print a table and write results/speed.json."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from cflowtool.export import hardware
from cflowtool.models import Sampler
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


@torch.no_grad()
def measure(name: str, path: Path, side: int, repeats: int) -> dict[str, Any]:
    """Return one weight's times for an x of side x side pixels."""
    model = load(path).model
    x = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)
    one = median_seconds(lambda: model.sample(x, 1, 0.8, 0).order(), repeats)
    ten = median_seconds(lambda: model.sample(x, 10, 0.8, 0).ranked(), repeats)
    calls = count_encodes(model)
    model.sample(x, 10, 0.8, 0)
    return {
        "weight": name,
        "x": f"{side} x {side}",
        "encode_s": median_seconds(lambda: model.encode(x), repeats),
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
    rows = [measure(name, path, options.side, options.repeats) for name, path in registry().items()]
    for row in rows:
        print({key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()})
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"hardware": hardware(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
