"""Write weights/README.md, and the figures in README.md, from the cards in the weights' headers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cflowtool.weights import WeightCard, read_card

ROOT = Path(__file__).parent.parent
START, END = "<!-- figures -->", "<!-- end of figures -->"
HEAD = """# Weights

One file a model; its card is in the file's header (`cflow models info NAME`). This page is generated from the cards by
`docs/generate_weights.py`. The weights were trained by this project; some of the images they were trained on may be
used for research only, and the weights are offered under the same understanding.
"""


def results_table(results: dict[str, Any]) -> list[str]:
    """Return the rows of PSNR and SSIM of one data set's results."""
    rows = ["| result | PSNR-Y, dB | SSIM-Y |", "| --- | ---: | ---: |"]
    for name, figures in results["results"].items():
        rows.append(f"| {name} | {figures['psnr']:.2f} | {figures['ssim']:.4f} |")
    return rows


def results_text(name: str, results: dict[str, Any]) -> list[str]:
    """Return the section of one data set."""
    protocol = results["protocol"]
    drawn = f"{protocol['samples']} samples at temperature {protocol['temperature']:g}, seed {protocol['seed']}"
    facts = {
        "bits per dim": f"{results['bits_per_dim']:.3f}",
        "shrinks back to the input at": f"{results['consistency_db']:.1f} dB",
        "exploded pixels": f"{results['exploded']:.4%} (temperature 1: {results['exploded_temp1']:.4%})",
        "coverage": ", ".join(f"{value:.1%} in the central {level}" for level, value in results["coverage"].items()),
    }
    lines = [f"\n### {name}: {results['images']} images, {drawn}\n", *results_table(results), ""]
    return lines + [f"- {key}: {value}" for key, value in facts.items()]


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
    for card in map(read_card, sorted(folder.glob("*.safetensors"))):
        found, held = card.results["set5"], card.results["heldout"]
        quality = [f"{found['results'][n]['psnr']:.2f} / {found['results'][n]['ssim']:.4f}" for n in names]
        inside = " / ".join(f"{share:.1%}" for share in held["coverage"].values())
        scale = f"x{card.recipe.task.options['scale']}"
        rows.append(f"| {scale} | {' | '.join(quality)} | {found['bits_per_dim']:.2f} | {inside} |")
    return "\n".join(rows)


def readme(text: str, folder: Path) -> str:
    """Return README.md with the table between its two marks replaced."""
    before, rest = text.split(START)
    return f"{before}{START}\n{summary(folder)}\n{END}{rest.split(END)[1]}"


def pages(root: Path) -> dict[Path, str]:
    """Return the generated pages and their text."""
    top = root / "README.md"
    folder = root / "weights"
    return {folder / "README.md": page(folder), top: readme(top.read_text("utf-8"), folder)}


if __name__ == "__main__":
    for target, text in pages(ROOT).items():
        target.write_text(text, "utf-8")
