"""cflow models list|info|verify|pull|push."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cflowtool.cli import console
from cflowtool.cli.options import Debug, Json, Offline
from cflowtool.errors import CflowError, ExitCode, UsageError, WeightsError, escape

Name = Annotated[
    str, typer.Argument(metavar="NAME|FILE|ORG/NAME", help="A bundled weight, a file or a hub's.", show_default=False)
]
Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME|FILE|ORG/NAME", help="Weights; all at hand without any.", show_default=False),
]
Repo = Annotated[str, typer.Argument(metavar="ORG/NAME[@REVISION]", help="A repository of a hub.", show_default=False)]

app = typer.Typer(
    no_args_is_help=True,
    help="The weights: what there is, what is on their cards, whether they are whole; weights on a hub.",
)


@app.command("list")
def list_models(as_json: Json = False, debug: Debug = False) -> None:
    """List the weights at hand: the bundled ones and those that were pulled."""
    rows = [_row(name, path) for name, path in _at_hand().items()]
    if as_json:
        for row in rows:
            console.emit(row)
    elif not rows:
        console.console().print("no weights are bundled; train one with cflow train")
    else:
        columns = ("name", "task", "model", "parameters", "MiB")
        cells = [[row[key] if row.get(key) is not None else "refused" for key in columns] for row in rows]
        console.table("", columns, cells, stderr=False)


def _at_hand() -> dict[str, Path]:
    from cflowtool import hub, weights

    found = {known.name: hub.location(known) for known in hub.pulled()}
    return {**weights.registry(), **{name: path for name, path in found.items() if path}}


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
def info(name: Name, offline: Offline = False, as_json: Json = False, debug: Debug = False) -> None:
    """Print the card of a weight: what it is, what it was trained on, what it was measured to do."""
    from cflowtool import weights

    card = weights.read_card(_path(name, offline)).model_dump(mode="json")
    if as_json:
        console.emit(card)
    else:
        for line in json.dumps(card, indent=2, ensure_ascii=False).splitlines():
            console.say(escape(line, 2000))


@app.command()
def verify(names: Names = None, offline: Offline = False, as_json: Json = False, debug: Debug = False) -> None:
    """Check that weights are whole: shapes, numbers, checksum, and how well their 1x1 convolutions can be inverted."""
    from cflowtool import weights

    paths = {name: _path(name, offline) for name in names} if names else _at_hand()
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


@app.command()
def pull(name: Repo, offline: Offline = False, as_json: Json = False, debug: Debug = False) -> None:
    """Download a weight from a hub into its cache (HF_HOME), check it and record its commit.

    Then --model ORG/NAME\\[@REVISION] takes it, from the cache alone; pull again for what the revision is by then. The
    hub is HF_ENDPOINT. Only safetensors are downloaded, whose sha256 must be the one that the hub states and that the
    loader takes.
    """
    from cflowtool import hub

    known = hub.pull(_hub_name(name), offline)
    row = {"name": known.name, **known.model_dump(), "path": str(hub.location(known))}
    if as_json:
        console.emit(row)
    else:
        console.say(f"{escape(known.name)}: commit {known.commit}, sha256 {known.sha256}\n  {escape(row['path'])}")


@app.command()
def push(
    file: Annotated[str, typer.Argument(metavar="NAME|FILE", help="The weight.", show_default=False)],
    name: Annotated[str, typer.Argument(metavar="ORG/NAME", help="The repository.", show_default=False)],
    private: Annotated[bool, typer.Option("--private", help="A repository that is new is a private one.")] = False,
    revision: Annotated[
        str, typer.Option("--revision", metavar="BRANCH", help="The branch, made where it is missing.")
    ] = "main",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Upload a weight to a hub, with a README made from its card unless there is one already.

    Log in with hf auth login, or set HF_TOKEN.
    """
    from cflowtool import hub, weights

    target = hub.HubName(_hub_name(name).repo, revision)
    commit = hub.push(weights.resolve(file, ""), target, private)
    if as_json:
        console.emit({"name": str(target), "repo": target.repo, "revision": revision, "commit": commit})
    else:
        console.say(f"{escape(target)}: commit {commit}")


def _hub_name(text: str) -> Any:
    from cflowtool import hub

    wanted = hub.parse(text)
    if wanted is None:
        raise UsageError(
            f"{escape(text)} is no name of a hub's repository", "write it like org/name or org/name@revision"
        )
    return wanted


def _say(name: str, report: dict[str, Any]) -> None:
    figures = f"{report['parameters']:,} parameters, condition number {report['condition_number']:.4g}"
    console.say(f"{escape(name)}: {'; '.join(report['problems']) or f'whole ({figures})'}")


def _path(name: str, offline: bool) -> Path:
    from cflowtool import hub

    return hub.resolve(name, "", offline, console.console().print)
