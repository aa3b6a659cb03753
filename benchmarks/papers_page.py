"""docs/papers.md from the figures of benchmarks/papers.py, every verdict drawn from them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

Runs = dict[str, dict[str, Any]]
_SURE, _WORTH = 2.0, 0.01

HEAD = """# The papers' claims, at small scale

Written by `benchmarks/papers.py measure` from `benchmarks/results/papers.json`; do not edit.

What the four papers say of their models was measured on large data after days on accelerators. Here small versions of
all of them (`benchmarks/papers.toml`) are trained side by side for minutes on one CPU core each, x4 from 16 x 16 to
64 x 64 pixels on `{data}`, to see which claims can be seen at this scale and which cannot. All figures are of {images}
photographs that no run has seen (5 % by the hash of their names; a person on one may be on a training photograph too),
{samples} samples each at temperature {temperature:g}. PSNR is over RGB. lite0 is a distance of EfficientNet-lite0
features, never to be read as LPIPS. "+-" is the standard error of the mean; a difference is paired, photograph by
photograph, and counts when it is more than two of its standard errors.

The runs shared two cores with other work, so that their minutes say little. The schedule is short: a difference says
which model is ahead after these steps, not which one ends ahead.

All runs are older than the wavelet transform that the 1x1 convolutions of a CAFLOW start at now
([why](decisions/wavelet-start.md)): those with CAFLOW or DUAL-GLOW in their name started at random rotations. The same
recipes, trained today, start elsewhere, and their figures will be others; the layers and their parameters are the same.
"""


def mean_error(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and its standard error."""
    return fmean(values), stdev(values) / sqrt(len(values))


def shown(values: Sequence[float] | None, digits: int = 2) -> str:
    """Return the mean as text, or a dash."""
    return "-" if values is None else f"{fmean(values):.{digits}f}"


def difference(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Return the mean of first - second over the photographs and its standard error."""
    return mean_error([a - b for a, b in zip(first, second, strict=True)])


def verdict(change: tuple[float, float], wanted: int) -> str:
    """Say whether a difference has the claimed sign: more than two standard errors, or it is not seen.

    Less than a hundredth of a bit or a decibel is called next to nothing.
    """
    mean, error = change
    if abs(mean) <= _SURE * error:
        return "not seen at this scale"
    if mean * wanted < 0:
        return "**does not hold here**, it is the other way round"
    return "holds" if abs(mean) >= _WORTH else "holds, by next to nothing"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def overview(runs: Runs) -> str:
    """Return the table of all runs."""
    head = ["model", "parameters", "steps x batch", "minutes", "bits per dim", "PSNR, temperature 0", "one sample"]
    head += ["mean of 10", "most likely of 10", "lite0, one sample", "diversity (lite0)"]
    rows = []
    for run in runs.values():
        f = run["figures"]
        bits = "none" if "bits_per_dim" not in f else "{:.3f} +- {:.3f}".format(*mean_error(f["bits_per_dim"]))
        rows.append(
            [run["title"], f"{run['parameters'] / 1e6:.2f} M", f"{run['steps']} x {run['batch']}"]
            + [f"{run['seconds'] / 60:.0f}", bits]
            + [shown(f.get(key)) for key in ("psnr_temp0", "psnr_one", "psnr_mean", "psnr_best")]
            + [shown(f["lite0_one"]), shown(f["diversity"])]
        )
    return "## All runs\n\n" + table(head, rows) + LOOKED_AT


LOOKED_AT = """
On the sheets of the runs (four faces each, looked at by eye) temperature 0 is a sharper bicubic in all models. Samples
of the flows are grainy after so few steps; CAFLOW's, from random rotations, break into black and white squares beside
one of the four faces, at 0.8 and at 1. TIM's samples of one face hardly differ: codes that training has not yet
learned to use.
"""

CLAIMS = [
    (
        "cnf",
        "factored",
        "bits_per_dim",
        -1,
        "CNF section 5.1: the flow has fewer bits per dimension than the factored model.",
    ),
    (
        "caflow",
        "dual-glow",
        "bits_per_dim",
        -1,
        "CAFLOW section 3.1: cross-scale factors beat DUAL-GLOW's (the same steps a block).",
    ),
    ("caflow", "dual-glow-large", "bits_per_dim", -1, "The same against a DUAL-GLOW of about as many parameters."),
    (
        "caflow",
        "cnf",
        "bits_per_dim",
        -1,
        "CAFLOW section 5: ahead of former conditional flows, here of the (smaller) CNF.",
    ),
    ("caflow", "caflow-shared", "bits_per_dim", -1, "CAFLOW appendix D: sharing weights costs a little."),
    (
        "caflow-variational",
        "caflow",
        "bits_of_the_bound",
        -1,
        "CAFLOW appendix A.1: variational dequantization is a clear gain.",
    ),
]


def likelihoods(runs: Runs) -> str:
    """Return the claims on bits per dimension."""
    rows = []
    for first, second, figure, wanted, claim in CLAIMS:
        if first in runs and second in runs:
            change = difference(*(runs[name]["figures"][figure] for name in (first, second)))
            rows.append([claim, f"{first} - {second}", "{:+.3f} +- {:.3f}".format(*change), verdict(change, wanted)])
    note = (
        "\nBits are those of the truth at the midpoints of its levels, without chance; where a learned dequantizer"
        " takes part, both models' are those of their bounds, one draw of noise each, which is dearer.\n"
    )
    return "## Likelihoods\n\n" + table(["claim", "difference", "bits per dim", "verdict"], rows) + note


def samples(runs: Runs) -> str:
    """Return the claims on means, on the most likely sample and on the truth's rank."""
    rows, ranks = [], []
    for name, run in runs.items():
        f = run["figures"]
        change = difference(f["psnr_mean"], f["psnr_one"])
        claim = "c-Glow section 4.2, the paper's own model" if name == "cglow" else "the same of other models"
        row = [run["title"], claim, "{:+.2f} +- {:.2f} dB".format(*change), verdict(change, 1)]
        rows.append(row)
        if "psnr_best" in f:
            cells = [fmean(f[key]) for key in ("less_likely_than_truth", "less_likely_than_truth_hot")]
            gain = difference(f["lite0_best"], f["lite0_one"])
            ranks.append([run["title"], *(f"{cell:.0%}" for cell in cells), "{:+.3f} +- {:.3f}".format(*gain)])
    return (
        "## The mean of ten samples against one (PSNR)\n\n"
        + table(["model", "claim: the mean is nearer", "difference", "verdict"], rows)
        + "\n## What likelihood ranks\n\n"
        + "CAFLOW section 4.4 reports that the truth is more likely than any sample, and keeps the most likely samples."
        + " A temperature below 1 draws from where the density is high, so the two columns differ.\n\n"
        + table(["model", "samples less likely than the truth, at 0.8", "at 1.0", "lite0: most likely - one"], ranks)
    )


def draws_needed(budgets: Sequence[int], curve: Sequence[float], wanted: float) -> float | None:
    """Return how many draws reach a distance, between the measured budgets on a logarithmic scale."""
    for k in range(1, len(budgets)):
        if curve[k] <= wanted:
            share = (curve[k - 1] - wanted) / (curve[k - 1] - curve[k]) if curve[k - 1] > curve[k] else 1.0
            return float(budgets[k - 1] * (budgets[k] / budgets[k - 1]) ** max(0.0, share))
    return None


def efficiency(run: dict[str, Any], budgets: Sequence[int]) -> str:
    """Return the draws that hierarchical and vanilla sampling need for the same distance."""
    hierarchical, vanilla = run["efficiency"]["hierarchical"], run["efficiency"]["vanilla"]
    rows = []
    for budget, near, far in zip(budgets, hierarchical, vanilla, strict=True):
        needed = draws_needed(budgets, vanilla, near) if budget > 1 else None
        ratio = f"{needed / budget:.1f}" if needed else f"more than {budgets[-1] / budget:.0f}" if budget > 1 else "-"
        rows.append([str(budget), f"{near:.4f}", f"{far:.4f}", ratio])
    return (
        "## TIM: draws for the same distance\n\n"
        "TIM section 4.2 says that vanilla sampling needs 2 to 8 times as many draws as hierarchical sampling. The"
        " trained TIM, distance of the nearest of m codes a module (the model's own training distance), mean over the"
        " photographs; both try as many codes of every module.\n\n"
        + table(["draws m", "hierarchical", "vanilla", "times as many for vanilla"], rows)
    )


def ablation(runs: Runs) -> str:
    """Return TIM's ablation: set distances, distance of one sample, diversity and faithfulness-weighted variance."""
    rows = []
    for name, run in runs.items():
        if name.startswith("tim"):
            f, sets = run["figures"], run["sets"]
            cells = [f"{sets['fid_lite0']:.1f}", f"{sets['kid_lite0']:.3f}", shown(f["lite0_one"], 3)]
            rows.append([run["title"], *cells, shown(f["diversity"], 3), shown(f["fwv"], 4)])
    count = runs["tim"]["sets"]["images"]
    return (
        "## TIM's ablation\n\n"
        "Table 5 of the paper takes its parts away one after another and FID rises each time: 16.75, 17.70, 18.58,"
        f" 21.66, 22.51. Here FID and KID are on lite0 features of {count} photographs, far too few to compare with"
        " other sets, enough to compare these rows. FWV is the faithfulness-weighted variance on lite0,"
        " bandwidth 1.\n\n"
        + table(["model", "FID (lite0)", "KID (lite0)", "lite0, one sample", "diversity", "FWV"], rows)
        + "\n"
        + _order([runs[name] for name in runs if name.startswith("tim")])
    )


def _order(runs: list[dict[str, Any]]) -> str:
    steps = [(b["sets"]["fid_lite0"] > a["sets"]["fid_lite0"], b["title"]) for a, b in pairwise(runs)]
    right = [title for risen, title in steps if risen]
    wrong = [title for risen, title in steps if not risen]
    return (
        f"FID rises with {len(right)} of the {len(steps)} parts taken away"
        + (f"; it does not with: {', '.join(wrong)}." if wrong else ".")
        + " One training run each, so that differences of a few per cent may be chance.\n"
    )


def page(results: dict[str, Any]) -> str:
    """Return the page's text."""
    runs: Runs = results["runs"]
    parts = [HEAD.format(**results), overview(runs), likelihoods(runs), samples(runs)]
    if "tim" in runs:
        parts += [efficiency(runs["tim"], results["budgets"]), ablation(runs)]
    return "\n".join(parts)


def write_page(results: dict[str, Any], path: Path) -> None:
    """Write the page."""
    path.write_text(page(results), "utf-8")
