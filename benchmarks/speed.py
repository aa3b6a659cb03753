"""Speed and memory of every paper recipe and shipped weight, of whole commands, and the page that shows them.

    python benchmarks/speed.py                          everything; hours on a small machine
    python benchmarks/speed.py --only cnf-paper --quick  one of them, once
    python benchmarks/speed.py --page                   docs/performance.md of the figures that there are

Every row is measured in a process of its own and kept in results/speed.json, whatever else is measured later.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from speed_commands import folder_row, photo_rows, start_rows, whole_row
from speed_page import page
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from cflowtool import recipes, weights
from cflowtool.cli.process import keep_buffers
from cflowtool.cli.start import AT_HAND, TUNABLES
from cflowtool.device import exact
from cflowtool.engine import Engine
from cflowtool.errors import CflowError
from cflowtool.export import hardware
from cflowtool.models import Density, Sampler

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results" / "speed.json"
PAGE = ROOT / "docs" / "performance.md"
SIDE, BATCH, SAMPLES = 64, 8, 10
PARTS = ("use", "train", "recompute")


class Calls(TorchDispatchMode):
    """Counts operator calls."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def median_seconds(work: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Return the median wall time of ``repeats`` runs after one that is not counted."""
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


@torch.no_grad()
def ceiling(device: torch.device, autocast: Any) -> float:
    """Return the GFLOP/s of the best of three 3x3 convolutions, channels_last: what a network could reach at most."""
    best = 0.0
    for channels, side in ((64, 64), (128, 64), (256, 32)):
        conv = nn.Conv2d(channels, channels, 3, padding=1).to(device, memory_format=torch.channels_last)
        x = torch.randn(BATCH, channels, side, side, device=device).contiguous(memory_format=torch.channels_last)
        with autocast:
            x = x.bfloat16() if torch.is_autocast_enabled(device.type) else x
            seconds = median_seconds(lambda conv=conv, x=x: conv(x), 15, device)
        best = max(best, 2 * 9 * channels**2 * side**2 * BATCH / seconds / 1e9)
    return best


def build(name: str) -> Sampler:
    """Return a shipped weight's model, or a recipe's, whose parameters are away from their start."""
    if name in weights.registry():
        return weights.load(weights.registry()[name]).model.requires_grad_()
    torch.manual_seed(0)
    model = recipes.build(recipes.load(name)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1e-3 * torch.randn_like(parameter))
    return model


def smooth(batch: int, channels: int, height: int, width: int) -> Tensor:
    """Return images that vary slowly, (B, C, H, W) in [0, 1]; the last channel of four is a hole in the middle."""
    coarse = torch.rand(batch, channels, 4, 4, generator=torch.Generator().manual_seed(0))
    images = nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    if channels == 4:
        images[:, 3] = 0
        images[:, 3, height // 4 : -height // 4, width // 4 : -width // 4] = 1
    return images.contiguous(memory_format=torch.channels_last)


def side_of(model: Sampler) -> tuple[int, int]:
    """Return the size of x whose y is 64 x 64, or the model's own where it has only one."""
    side = max(model.size.multiple_of, SIDE // model.scale)
    return model.size.fixed or (side, side)


def works(model: Sampler, part: str, device: torch.device) -> dict[str, Callable[[], object]]:
    """Return what is timed, by name."""
    height, width = side_of(model)
    x = smooth(BATCH, model.in_channels, height, width).to(device)
    y = smooth(BATCH, model.channels, height * model.scale, width * model.scale).to(device)
    if isinstance(model, Density) and model.levels == 2:
        y = y.round()
    if part == "use":
        density, one, seeds = isinstance(model, Density), x[:1], itertools.count(1)

        def ten(seed: int = 0) -> object:
            draws = model.sample(one, SAMPLES, 0.8, seed)
            return draws.order() if density else draws

        found: dict[str, Callable[[], object]] = {"log_prob": lambda: model.log_prob(y, x)} if density else {}
        return found | {"one": lambda: model.sample(one, 1, 0.8, 0), "ten": ten, "new": lambda: ten(next(seeds))}

    def step() -> None:
        model.zero_grad()
        model.loss(y, x, torch.Generator().manual_seed(0)).mean().backward()

    return {part: step}


def replayed(model: Sampler, device: torch.device, precision: str) -> Callable[[], object]:
    """Return ten samples as a command draws them: on a GPU by a CUDA graph from the third time on."""
    engine, (height, width) = Engine(model, device.type, precision), side_of(model)
    x, [tile] = smooth(1, model.in_channels, height, width), engine.tiles(height, width)
    return lambda: engine.decode(tile, range(SAMPLES), 0.8, 0, engine.encode(x, tile))


def peak_mebibytes(device: torch.device) -> float:
    """Return the most memory that this process, or on a GPU its tensors, took until now."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def measure(name: str, part: str, device: torch.device, threads: int, precision: str, quick: bool) -> dict[str, Any]:
    """Return one row: seconds, GFLOP, operator calls and share of the ceiling of every work, and peak memory."""
    torch.set_num_threads(threads)
    keep_buffers()
    warnings.filterwarnings("ignore", message="TF32")
    bf16 = precision == "bf16"
    autocast = torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext()
    model = build(name).to(device)
    model = model.train() if part != "use" else model.prepare()
    if part == "recompute":
        model.recompute()
    with exact(device):
        top, found = ceiling(device, autocast), {}
    row = {"name": name, "part": part, "device": device.type, "threads": threads, "precision": precision}
    row |= {"parameters": sum(p.numel() for p in model.parameters()), "ceiling": top, "hardware": hardware()}
    with exact(device), autocast, torch.no_grad() if part == "use" else nullcontext():
        todo = works(model, part, device)
        for what, work in todo.items():
            found[what] = {"seconds": median_seconds(work, 1 if quick else 7, device)}
        row["peak_mebibytes"] = peak_mebibytes(device)
        for what, work in todo.items():
            # Not counted are oneDNN's own operator and what is computed a second time.
            model.recompute(False)
            with FlopCounterMode(display=False) as flops, torch.backends.mkldnn.flags(enabled=bf16):
                work()
            model.recompute(part == "recompute")
            with Calls() as calls:
                work()
            gflop = flops.get_total_flops() / 1e9
            found[what] |= {"gflop": gflop, "calls": calls.count, "share": gflop / found[what]["seconds"] / top}
    if device.type == "cuda" and part == "use":
        row["ten_replayed"] = median_seconds(replayed(model, device, precision), 7, device)
    return row | {"works": found}


def keep(rows: list[dict[str, Any]]) -> None:
    """Put rows into the results, in the place of those of the same work."""
    key = ("name", "part", "device", "threads", "precision")
    known = json.loads(RESULTS.read_text("utf-8"))["rows"] if RESULTS.exists() else []
    found = {tuple(str(row.get(k)) for k in key): row for row in [*known, *rows] if "part" in row}
    RESULTS.write_text(json.dumps({"rows": list(found.values())}, indent=1) + "\n", "utf-8")


def names() -> list[str]:
    """Return every paper recipe and every shipped weight."""
    return [name for name in recipes.names() if name.endswith("-paper")] + list(weights.registry())


def in_a_process(arguments: list[str], threads: int) -> None:
    """Measure one row in a process of its own and keep it; a model that cannot be trained here has none."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), TUNABLES: AT_HAND}
    done = subprocess.run(
        [sys.executable, __file__, *arguments], env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    print(*arguments[1:], done.stdout.strip()[:400] or f"failed with {done.returncode}", flush=True)
    if done.returncode == 0:
        keep([json.loads(done.stdout)])


def of_commands(chosen: argparse.Namespace, wanted: list[str]) -> None:
    """Measure whole commands, as far as they are wanted."""
    for threads in chosen.threads:
        if "commands" in wanted:
            repeats = 1 if chosen.quick else 5
            keep([*start_rows(threads, repeats), *photo_rows(threads, repeats), folder_row(threads, chosen.quick)])
        if "whole" in wanted:
            for name, precision in itertools.product(("denoise-cnf", "super-resolve-cnf-x2"), chosen.precision):
                keep([whole_row(name, threads, precision)])


def options() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", help="recipes or weights; commands; whole")
    parser.add_argument("--quick", action="store_true", help="each work once after a first time")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--precision", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--page", action="store_true", help="write docs/performance.md alone")
    parser.add_argument("--row", nargs=5, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure what is asked for, row by row, and write the page."""
    chosen = options()
    if chosen.row:
        name, part, device, threads, precision = chosen.row
        try:
            row = measure(name, part, torch.device(device), int(threads), precision, chosen.quick)
        except (CflowError, ImportError) as error:
            sys.exit(f"{name}: {error}")
        print(json.dumps(row))
        return
    wanted = [] if chosen.page else chosen.only or [*names(), "commands", "whole"]
    quick = ["--quick"] if chosen.quick else []
    places = [("cpu", threads) for threads in chosen.threads] + [("cuda", 1)] * torch.cuda.is_available()
    for name, (device, threads) in itertools.product([n for n in wanted if n not in ("commands", "whole")], places):
        for part, precision in itertools.product(chosen.parts, chosen.precision):
            in_a_process([*quick, "--row", name, part, device, str(threads), precision], threads)
    of_commands(chosen, wanted)
    PAGE.write_text(page(json.loads(RESULTS.read_text("utf-8"))["rows"]), "utf-8")


if __name__ == "__main__":
    main()
