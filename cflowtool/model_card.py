"""The README of a weight's repository on a hub, written from the weight's own card."""

from __future__ import annotations

import re
from typing import Any

from .weights import WeightCard

_PIPELINES = {"segment": "image-segmentation", "segment-vessels": "image-segmentation"}


def render(card: WeightCard, repo: str) -> str:
    """Return Markdown with the metadata that hubs read: what the weight is, how it is used, trained and measured."""
    from huggingface_hub import ModelCardData

    task, model = card.recipe.task, card.recipe.model.name
    about = ModelCardData(
        library_name="cflowtool",
        pipeline_tag=_PIPELINES.get(task.name, "image-to-image"),
        tags=["cflowtool", "normalizing-flow", task.name, model],
    )
    parts = [
        f"---\n{about.to_yaml()}\n---",
        f"# {_plain(card.name)}",
        _plain(card.recipe.title),
        f"A {_plain(model)} for {_plain(task.name)} with {card.parameters:,} parameters, a weight of cflowtool:",
        f"    pip install cflowtool\n    cflow {_plain(task.name)} INPUT --model {repo} -o out",
        "## Training",
        "\n".join(f"- {line}" for line in _training(card)),
        "## Measured",
        _measured(card.results),
        "## Notes",
        "\n".join(f"- {_plain(note)}" for note in card.notes),
    ]
    return "\n\n".join(_filled(parts)) + "\n"


def _training(card: WeightCard) -> list[str]:
    steps = f"{card.steps:,} steps" + (f" on {_plain(card.hardware)}" if card.hardware else "")
    command = [f"command: `{_plain(card.command)}`"] if card.command else []
    data = [f"data: {_plain(one.name)}, {one.images} images; terms: {_plain(one.terms)}" for one in card.data]
    return [steps, *command, *data, f"sha256 of the tensors: `{card.tensors_sha256}`"]


def _measured(results: dict[str, Any]) -> str:
    lines = []
    for name, found in results.items():
        for method, figures in _below(found, "results").items():
            kept = {key: value for key, value in _below({"": figures}, "").items() if isinstance(value, int | float)}
            said = ", ".join(f"{key} {value:.4g}" for key, value in kept.items())
            lines.append(f"| {_plain(name)} | {_plain(method)} | {_plain(said)} |")
    return "\n".join(["| images | result | figures |", "| --- | --- | --- |", *lines]) if lines else ""


def _below(found: Any, key: str) -> dict[str, Any]:
    """Return the object at a key of another, an empty one where either is none."""
    inner = found.get(key) if isinstance(found, dict) else None
    return inner if isinstance(inner, dict) else {}


def _filled(parts: list[str]) -> list[str]:
    """Leave out what is empty, and a heading with nothing below it."""
    kept = [part for part in parts if part]
    below = [*kept[1:], "## "]
    return [p for p, after in zip(kept, below, strict=True) if not (p.startswith("## ") and after.startswith("## "))]


def _plain(text: str) -> str:
    """Return the text on one line, without what Markdown would take for a table, code or a tag."""
    return re.sub(r"[|`<>]", "", " ".join(text.split()))
