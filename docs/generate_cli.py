"""Writes docs/reference/cli.md from the typer app: python docs/generate_cli.py."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
import typer.main

TARGET = Path(__file__).parent / "reference" / "cli.md"
HEAD = "# Command line\n\nGenerated from the code by `python docs/generate_cli.py`; do not edit."


def parameters(command: Any, context: typer.Context, kind: str, title: str) -> Iterator[str]:
    """Yield a titled list of the command's arguments or options, with their help and defaults."""
    chosen = [p for p in command.get_params(context) if p.param_type_name == kind]
    records = [record for p in chosen if (record := p.get_help_record(context)) is not None]
    if records:
        lines = [f"- `{names.strip()}` {' '.join(text.split())}".rstrip() for names, text in records]
        yield "\n".join([f"**{title}**", "", *lines])


def sections(command: Any, context: typer.Context) -> Iterator[str]:
    """Yield the Markdown blocks of a command, then of its sub-commands."""
    depth = min(2 + context.command_path.count(" "), 6)
    yield f"{'#' * depth} `{context.command_path}`"
    yield "\n".join(["```text", " ".join([context.command_path, *command.collect_usage_pieces(context)]), "```"])
    if command.help:
        yield command.help.strip()
    yield from parameters(command, context, "argument", "Arguments")
    yield from parameters(command, context, "option", "Options")
    for name, child in getattr(command, "commands", {}).items():
        if not child.hidden:
            yield from sections(child, typer.Context(child, info_name=name, parent=context))


def render(app: typer.Typer) -> str:
    """Return the reference page of a typer app as Markdown."""
    command: Any = typer.main.get_command(app)
    return "\n\n".join([HEAD, *sections(command, typer.Context(command, info_name="cflow"))]) + "\n"


def main() -> None:
    """Write the page of the cflow command."""
    from cflowtool.cli.main import app

    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(render(app), encoding="utf-8")


if __name__ == "__main__":
    main()
