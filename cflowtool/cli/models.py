"""cflow models list|info|verify."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cflowtool.cli import console
from cflowtool.cli.options import Debug, Json
from cflowtool.errors import CflowError, ExitCode, WeightsError, escape

Name = Annotated[str, typer.Argument(metavar="NAME|FILE", help="A bundled weight or a file.", show_default=False)]
Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME|FILE", help="Weights; all bundled ones without any.", show_default=False),
]

app = typer.Typer(
    no_args_is_help=True, help="The weights: what there is, what is on their cards, whether they are whole."
)


@app.command("list")
def list_models(as_json: Json = False, debug: Debug = False) -> None:
    """List the bundled weights."""
    from cflowtool import weights

    rows = [_row(name, path) for name, path in weights.registry().items()]
    if as_json:
        for row in rows:
            console.emit(row)
    elif not rows:
        console.console().print("no weights are bundled; train one with cflow train")
    else:
        columns = ("name", "task", "model", "parameters", "MiB")
        cells = [[row[key] if row.get(key) is not None else "refused" for key in columns] for row in rows]
        console.table("", columns, cells, stderr=False)


def _row(name: str, path: Path) -> dict[str, Any]:
    from cflowtool import weights

    row: dict[str, Any] = {"name": name, "path": str(path)}
    try:
        card = weights.read_card(path)
        row["MiB"] = round(path.stat().st_size / 2**20, 2)
    except (CflowError, OSError) as error:
        return {**row, "error": str(error)}
    scale = card.recipe.task.options.get("scale")
    row |= {"task": card.recipe.task.name + (f" scale={scale}" if scale else ""), "model": card.recipe.model.name}
    return {**row, "parameters": card.parameters, "results": card.results}


@app.command()
def info(name: Name, as_json: Json = False, debug: Debug = False) -> None:
    """Print the card of a weight: what it is, what it was trained on, what it was measured to do."""
    from cflowtool import weights

    card = weights.read_card(_path(name)).model_dump(mode="json")
    if as_json:
        console.emit(card)
    else:
        for line in json.dumps(card, indent=2, ensure_ascii=False).splitlines():
            console.say(escape(line, 2000))


@app.command()
def verify(names: Names = None, as_json: Json = False, debug: Debug = False) -> None:
    """Check that weights are whole: shapes, numbers, checksum, and how well their 1x1 convolutions can be inverted."""
    from cflowtool import weights

    known = weights.registry()
    paths = {name: _path(name) for name in names or known}
    if not paths:
        raise WeightsError("no weights are bundled", "name a file")
    refused = False
    for name, path in paths.items():
        report = vars(weights.verify(path))
        refused |= bool(report["problems"])
        if as_json:
            console.emit({"name": name, "path": str(path), "ok": not report["problems"], **report})
        else:
            _say(name, report)
    if refused:
        raise typer.Exit(ExitCode.WEIGHTS)


def _say(name: str, report: dict[str, Any]) -> None:
    figures = f"{report['parameters']:,} parameters, condition number {report['condition_number']:.4g}"
    console.say(f"{escape(name)}: {'; '.join(report['problems']) or f'whole ({figures})'}")


def _path(name: str) -> Path:
    from cflowtool import weights

    return weights.resolve(name, "")
