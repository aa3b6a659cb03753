"""Write weights/README.md, and the figures in README.md, from the cards in the weights' headers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cflowtool.weights import WeightCard, read_card

ROOT = Path(__file__).parent.parent
FAR_OFF = 0.03
START, END = "<!-- figures -->", "<!-- end of figures -->"
OTHERS, OTHERS_END = "<!-- other tasks -->", "<!-- end of other tasks -->"
HEAD = """# Weights

One file a model; its card is in the file's header (`cflow models info NAME`). This page is generated from the cards by
`docs/generate_weights.py`. The weights were trained by this project; some of the images they were trained on may be
used for research only, and the weights are offered under the same understanding.
"""


COLUMNS = {
    "psnr": "PSNR, dB",
    "psnr_hole": "PSNR in the hole, dB",
    "ssim": "SSIM-Y",
    "colourfulness": "colourfulness",
    "lite0": "lite0 (less is nearer)",
    "max_f": "maximal F",
    "iou": "IoU above 1/2",
}
DIGITS = {"psnr": 2, "psnr_hole": 2, "ssim": 4, "colourfulness": 1, "lite0": 2, "max_f": 4, "iou": 4}


def results_table(results: dict[str, Any], task: str) -> list[str]:
    """Return the rows of the metrics of one data set's results."""
    rows = results["results"]
    known = [metric for metric in COLUMNS if any(metric in figures for figures in rows.values())]
    titles = ["PSNR-Y, dB" if (m, task) == ("psnr", "super-resolve") else COLUMNS[m] for m in known]
    lines = [f"| result | {' | '.join(titles)} |", f"| --- |{' ---: |' * len(known)}"]
    for name, figures in rows.items():
        cells = [f"{figures[m]:.{DIGITS[m]}f}" if m in figures else "" for m in known]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def facts(results: dict[str, Any]) -> dict[str, str]:
    """Return what else was measured, in words."""
    found: dict[str, str] = {}
    if "bits_per_dim" in results:
        found["bits per dim"] = f"{results['bits_per_dim']:.3f}"
    if "consistency_db" in results:
        found["degraded again, a result is the input to"] = f"{results['consistency_db']:.1f} dB"
    if "exploded" in results:
        hot = f" (temperature 1: {results['exploded_temp1']:.4%})" if "exploded_temp1" in results else ""
        found["exploded pixels"] = f"{results['exploded']:.4%}{hot}"
    if "coverage" in results:
        found["coverage"] = inside(results["coverage"])
    if "calibrated" in results:
        found["calibrated temperature"] = calibrated(**results["calibrated"])
    if "reliability" in results:
        found["expected calibration error of the probability map"] = f"{results['reliability']['error']:.4f}"
    return found


def inside(coverage: dict[str, float]) -> str:
    """Return how much of the truth the central intervals hold, in words."""
    return ", ".join(f"{value:.1%} in the central {level}" for level, value in coverage.items())


def calibrated(temperature: float, fitted_on: int, coverage: dict[str, float]) -> str:
    """Return the temperature at which the intervals hold what they say, and what they hold of these images."""
    off = [value - said for value, said in zip(coverage.values(), (0.5, 0.9), strict=True)]
    unlike = "; no one temperature fits both" if off[0] * off[1] < 0 and max(map(abs, off)) > FAR_OFF else ""
    return f"{temperature:.2f}, fitted on {fitted_on} other photographs never trained on: {inside(coverage)}{unlike}"


def results_text(name: str, results: dict[str, Any]) -> list[str]:
    """Return the section of one data set."""
    protocol = results["protocol"]
    drawn = f"{protocol['samples']} samples at temperature {protocol['temperature']:g}, seed {protocol['seed']}"
    given = "".join(f", {key} {protocol[key]}" for key in ("sigma", "holes") if key in protocol)
    lines = [
        f"\n### {name}: {results['images']} images{given}, {drawn}\n",
        *results_table(results, results["task"]),
        "",
    ]
    return lines + [f"- {key}: {value}" for key, value in facts(results).items()]


def picture(name: str) -> list[str]:
    """Return the line that shows a weight's before and after, where docs/images has one."""
    shown = ROOT / "docs" / "images" / f"{name}.png"
    return [f"\n![before and after](../docs/images/{shown.name})"] if shown.is_file() else []


def section(card: WeightCard, size: int) -> list[str]:
    """Return one weight's section."""
    data = "; ".join(f"{d.name} ({d.images} images; {d.terms})" for d in card.data)
    lines = [
        f"\n## {card.name}\n",
        f"{card.recipe.title}. {card.parameters:,} parameters, {size / 2**20:.1f} MiB.\n",
        f"- trained for {card.steps:,} steps, {card.seconds / 60:.0f} minutes, on {card.hardware}",
        f"- command: `{card.command}`",
        f"- data: {data}",
        *(f"- {note}" for note in card.notes),
    ]
    lines += picture(card.name)
    for name, results in card.results.items():
        lines += results_text(name, results)
    return lines


def page(folder: Path) -> str:
    """Return the whole page."""
    lines = [HEAD.rstrip()]
    for path in sorted(folder.glob("*.safetensors")):
        lines += section(read_card(path), path.stat().st_size)
    return "\n".join(lines) + "\n"


def summary(folder: Path) -> str:
    """Return the table for README.md: set5, Y channel, border cropped."""
    names = {"bicubic": "bicubic", "temp0": "temperature 0", "mean": "mean of 10", "best": "most likely of 10"}
    rows = [
        f"| | {' | '.join(names.values())} | bits per dim | in 50 % / 90 % |",
        f"| --- |{' ---: |' * (len(names) + 2)}",
    ]
    for card in map(read_card, sorted(folder.glob("super-resolve-*.safetensors"))):
        if "set5" not in card.results:
            continue
        found, held = card.results["set5"], card.results["heldout"]
        quality = [f"{found['results'][n]['psnr']:.2f} / {found['results'][n]['ssim']:.4f}" for n in names]
        inside = " / ".join(f"{share:.1%}" for share in held["coverage"].values())
        scale = f"x{card.recipe.task.options['scale']}"
        rows.append(f"| {scale} | {' | '.join(quality)} | {found['bits_per_dim']:.2f} | {inside} |")
    return "\n".join(rows)


MAIN = {
    "denoise": "psnr",
    "colorize": "psnr",
    "inpaint": "psnr_hole",
    "segment-vessels": "max_f",
    "super-resolve": "psnr",
}


def others(folder: Path) -> str:
    """Return the table for README.md of the weights not measured on set5: every set, the metric that counts most."""
    rows = ["| weight | measured on | results | bits per dim |", "| --- | --- | --- | ---: |"]
    for card in map(read_card, sorted(folder.glob("*.safetensors"))):
        metric = MAIN[card.recipe.task.name]
        for name, results in card.results.items():
            if "set5" in card.results or name == "bundled":
                continue
            shown = (f"{n} {f[metric]:.{DIGITS[metric]}f}" for n, f in results["results"].items() if metric in f)
            where = f"{name}, {results['images']} images"
            bits = f"{results['bits_per_dim']:.3f}" if "bits_per_dim" in results else ""
            rows.append(f"| {card.name} | {where} | {COLUMNS[metric]}: {', '.join(shown)} | {bits} |")
    return "\n".join(rows)


def between(text: str, marks: tuple[str, str], table: str) -> str:
    """Return a text with what stands between two marks replaced."""
    before, rest = text.split(marks[0])
    return f"{before}{marks[0]}\n{table}\n{marks[1]}{rest.split(marks[1])[1]}"


def readme(text: str, folder: Path) -> str:
    """Return README.md with the tables between their marks replaced."""
    return between(between(text, (START, END), summary(folder)), (OTHERS, OTHERS_END), others(folder))


def pages(root: Path) -> dict[Path, str]:
    """Return the generated pages and their text."""
    top = root / "README.md"
    folder = root / "weights"
    return {folder / "README.md": page(folder), top: readme(top.read_text("utf-8"), folder)}


if __name__ == "__main__":
    for target, text in pages(ROOT).items():
        target.write_text(text, "utf-8")
