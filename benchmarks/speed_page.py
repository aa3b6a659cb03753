"""docs/performance.md from the figures of benchmarks/speed.py."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

Row = dict[str, Any]

HEAD = """# Performance

Written by `benchmarks/speed.py` from `benchmarks/results/speed.json`; do not edit. What is not in a table has not
been measured.

Each row is a process of its own. x is such that y is 64 x 64 pixels, save for models of one other size; log_prob and
training steps (gradients included, the optimiser not) are of a batch of 8, ten samples are of one x, ranked where there
is a likelihood. Times are medians. The ceiling is the best of three 3x3 convolutions (64, 128 and 256 channels,
channels_last) in the same process; a share is GFLOP / seconds / ceiling, the GFLOP being those that are really
computed: what depends on x alone counts once for ten samples. Peak memory is that of the whole process on a CPU,
torch's own 0.3 GiB included, and that of its tensors on a GPU. "recomputed" is a training step with
`recompute = true`, its share that of the GFLOP of a plain one. Noise is kept from run to run, as in a folder of images,
but for "of new noise", a seed each time. The allocator is set as the commands set it.

The machine was shared: the same row took up to a third longer at another time of the day, and a row's ceiling is only
as good as its own moments. Two states of the code are to be compared step by step in turn, not by these tables.
"""
HINTS = """
## What makes it fast, and what you can do

- All that depends on x alone is made once, in `encode`: ten samples cost one encoding and ten decodings in one batch.
- A model that is used is prepared: activation normalization and 1x1 convolution are one kernel with its inverse and
  log-determinant, made once.
- In fp32 on a CPU, torch leaves 1x1 convolutions on one thread, and those of one small image, to a slower library:
  `cflowtool.nets.convolution` sends them to oneDNN, with the kernels of a model in use kept in oneDNN's own order.
- The commands tell glibc to keep large buffers, and many small ones at hand. A program of your own can do the first
  with `cflowtool.cli.process.keep_buffers()`; for the second its environment must say
  `GLIBC_TUNABLES=glibc.malloc.tcache_count=127` when it starts.
- Where several processes share the cores, set `OMP_NUM_THREADS` to what each may use and `OMP_WAIT_POLICY=PASSIVE`, so
  that waiting threads sleep.
- `--precision bf16` for sampling and `precision = "bf16"` for training pay on processors with bf16 instructions and on
  GPUs.
- `recompute = true` in a recipe's `[train]` finds a flow's activations again by its inverse, and those of its trunk by
  computing them again: more time for less memory, the same gradients to rounding.
"""


def number(value: float | None, digits: int = 3) -> str:
    """Return a figure with so many significant digits, or a dash."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 10 ** (digits - 1) else f"{value:#.{digits}g}".rstrip(".")


def cell(row: Row | None, what: str) -> str:
    """Return seconds and the share of the ceiling of one work."""
    work = row and row["works"].get(what)
    return f"{number(work['seconds'])} s ({100 * work['share']:.0f} %)" if work else "-"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines) + "\n"


def ten_samples(row: Row | None) -> str:
    """Return seconds and share of ten samples, what they take with new noise and, on a GPU, replayed."""
    works = row["works"] if row else {}
    new = f"; {number(works['new']['seconds'])} s of new noise" if "new" in works else ""
    replayed = f"; {number(row['ten_replayed'])} s replayed" if row and "ten_replayed" in row else ""
    return cell(row, "ten") + new + replayed


def model_table(rows: Sequence[Row]) -> str:
    """Return the rows of one place and precision, a model a line."""
    head = ["model", "parameters", "log_prob", "one sample", "ten samples", "training step", "recomputed"]
    head += ["GFLOP of ten", "calls of ten", "peak GiB: use, training, recomputed"]
    lines = []
    for name in dict.fromkeys(row["name"] for row in rows):
        parts = {row["part"]: row for row in rows if row["name"] == name}
        use, train, again = (parts.get(part) for part in ("use", "train", "recompute"))
        ten = use["works"]["ten"] if use else {}
        peaks = ", ".join(number(p["peak_mebibytes"] / 2**10 if p else None) for p in (use, train, again))
        line = [name, f"{next(iter(parts.values()))['parameters'] / 1e6:.1f} M"]
        line += [cell(use, "log_prob"), cell(use, "one"), ten_samples(use), cell(train, "train")]
        line += [cell(again, "recompute"), number(ten.get("gflop")), str(ten.get("calls", "-")), peaks]
        lines.append(line)
    return table(head, lines)


def command_tables(rows: Sequence[Row]) -> str:
    """Return the times of whole commands."""
    rows = sorted(rows, key=lambda row: row["threads"])
    text = "\n## Whole commands, from start to files on disk\n\n"
    names = {"start": "`{name}`", "photo": "one 512 x 512 photo, {name}"}
    shown = [row for row in rows if row["part"] in names]
    times: dict[str, dict[int, float]] = {}
    for row in shown:
        times.setdefault(names[row["part"]].format(**row), {})[row["threads"]] = row["seconds"]
    threads = sorted({row["threads"] for row in shown})
    lines = [[name, *(number(found.get(k)) for k in threads)] for name, found in times.items()]
    text += table(["seconds", *(f"{k} thread{'s' * (k > 1)}" for k in threads)], lines) if lines else ""
    for row in (row for row in rows if row["part"] == "folder"):
        what = f"{row['images']} images of 64 x 64 pixels through {row['name']}, {row['threads']} threads"
        share = f"{100 * row['busy']:.0f} % of the time in the model"
        rate = number(row["images"] / row["seconds"])
        text += f"\nA folder of {what}: {rate} images a second, start-up included, {share}.\n"
    return text + whole_table([row for row in rows if row["part"] == "whole"])


def whole_table(rows: Sequence[Row]) -> str:
    """Return where the time of large pictures goes."""
    if not rows:
        return ""
    stages = ("imports", "load", "read", "encode", "decode", "restore", "write")
    head = ["model", "threads", "precision", "seconds", "megapixels/s", "peak GiB", "imports", "weight", "reading"]
    head += ["encoding", "decoding", "joining tiles", "writing", "rest"]
    lines = []
    for row in rows:
        spent = {name: row["stages"].get(name, 0.0) for name in stages}
        spent["restore"] -= spent["encode"] + spent["decode"]
        rest = row["seconds"] - sum(spent.values())
        rate, peak = row["megapixels"] / row["seconds"], row["peak_mebibytes"] / 2**10
        figures = [row["seconds"], rate, peak, *spent.values(), rest]
        lines.append([row["name"], str(row["threads"]), row["precision"], *(number(max(0.0, f), 2) for f in figures)])
    text = "\n## A picture of 4000 x 3000 pixels: where the time goes\n\nSeconds; megapixels are those of the input, "
    text += "peak memory that of the process that computes (another decodes the input).\n\n"
    return text + table(head, lines)


def page(rows: Sequence[Row]) -> str:
    """Return the whole page."""
    text = HEAD
    models = [row for row in rows if "works" in row]

    def place(row: Row) -> tuple[str, int, str]:
        return row["device"], row["threads"], row["precision"]

    for (device, threads, precision), group in groupby(sorted(models, key=place), place):
        found = list(group)
        top, where = max(row["ceiling"] for row in found), found[0]["hardware"]
        on = f"{threads} thread{'s' * (threads > 1)}" if device == "cpu" else "GPU"
        text += f"\n## {on}, {precision}\n\n{where}; ceiling up to {number(top)} GFLOP/s.\n\n{model_table(found)}"
    others = [row for row in rows if "works" not in row]
    return text + (command_tables(others) if others else "") + HINTS
