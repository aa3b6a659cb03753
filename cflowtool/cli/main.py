"""The cflow command: its sub-commands, and what becomes of an exception."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer
import typer.main

from cflowtool import __version__
from cflowtool.cli import console, models, process
from cflowtool.cli.colorize import colorize
from cflowtool.cli.denoise import denoise
from cflowtool.cli.doctor import doctor
from cflowtool.cli.evaluate import evaluate
from cflowtool.cli.flat import flat
from cflowtool.cli.inpaint import inpaint
from cflowtool.cli.rank import rank
from cflowtool.cli.segment_vessels import segment_vessels
from cflowtool.cli.super_resolve import super_resolve
from cflowtool.cli.train import train
from cflowtool.errors import CflowError, ExitCode, escape

# After these a thread may be in the middle of something that nobody waits for.
UNFINISHED = (ExitCode.OUTPUT, ExitCode.INTERRUPTED, ExitCode.TERMINATED)

app = typer.Typer(name="cflow", no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich")
app.command("super-resolve")(flat(super_resolve))
app.command("colorize")(flat(colorize))
app.command("inpaint")(flat(inpaint))
app.command("segment-vessels")(flat(segment_vessels))
app.command("denoise")(flat(denoise))
app.command("rank")(flat(rank))
app.command("evaluate")(flat(evaluate))
app.command("train")(flat(train))
app.add_typer(models.app, name="models")
app.command("doctor")(flat(doctor))


def _version(asked: bool) -> None:
    if asked:
        console.say(f"cflow {__version__}")
        raise typer.Exit


@app.callback()
def cflow(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Restore images with conditional normalizing flows: ranked samples of what was lost, with their likelihood."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code; an expected error is two lines on stderr."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    command: Any = typer.main.get_command(app)
    try:
        return int(command.main(given, prog_name="cflow", standalone_mode=False) or ExitCode.OK)
    except (Exception, KeyboardInterrupt, process.Terminated) as error:
        if "--debug" in given:
            traceback.print_exc()
        return _explained(error)


def _explained(error: BaseException) -> int:
    if isinstance(error, CflowError):
        console.complain(error.what, error.hint)
        return error.code
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return ExitCode.INTERRUPTED
    if isinstance(error, process.Terminated):
        return ExitCode.TERMINATED
    if hasattr(error, "format_message"):
        return _usage(error)
    what = f"internal error: {type(error).__name__}: {escape(error)}"
    console.complain(what, "run the command again with --debug, and report what it prints")
    return ExitCode.INTERNAL


def _usage(error: Any) -> int:
    """An error of typer's, which has click inside in some versions and beside it in others."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message(), file=sys.stderr)
        return ExitCode.USAGE
    message = escape(error.format_message()).rstrip(".")
    console.complain(message, f"{context.command_path if context else 'cflow'} --help")
    return ExitCode.USAGE


def main() -> None:
    """The entry point of the console script."""
    process.prepare()
    code = run()
    if code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
        console.complain("interrupted", "the same command with --skip-existing (train: --resume) goes on from here")
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if code in UNFINISHED:
        process.leave(code)
    process.end(code)
