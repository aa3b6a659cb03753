"""What a command says: JSON on stdout, all else on stderr, every name escaped and nothing taken for markup."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cflowtool.errors import CflowError, OutputError, escape

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn


def console(quiet: bool = False, stderr: bool = True) -> Console:
    """A rich console without markup, emoji or highlighting; it obeys NO_COLOR and prints nothing when `quiet`."""
    from rich.console import Console

    return Console(stderr=stderr, quiet=quiet, markup=False, emoji=False, highlight=False, soft_wrap=True)


def complain(what: str, hint: str) -> None:
    """Prints the two lines of an expected error, whatever --quiet says."""
    with contextlib.suppress(OSError, ValueError):
        print(f"cflow: {what}\n  try: {hint}", file=sys.stderr, flush=True)


def list_failures(errors: Sequence[CflowError], total: int) -> None:
    """Prints one failed input in two lines, several in one line each."""
    if len(errors) == 1:
        complain(errors[0].what, errors[0].hint)
    elif errors:
        lines = "".join(f"\n  {error.what}" for error in errors)
        hints = list(dict.fromkeys(error.hint for error in errors))
        complain(f"{len(errors)} of {total} inputs failed{lines}", "; ".join(hints[:3]))


def summarise(counts: Mapping[str, int], seconds: float, quiet: bool = False) -> None:
    """Prints how many of several inputs are done, skipped, failed and pending, in how many seconds."""
    total, done = sum(counts.values()), counts["done"]
    if total < 2 or quiet:
        return
    parts = [f"{number} {name}" for name, number in counts.items() if number or name == "done"]
    rate = f", {done / seconds:.2f} images/s" if done and seconds else ""
    with contextlib.suppress(OSError, ValueError):
        print(f"{total} inputs: {', '.join(parts)}; {seconds:.1f} s{rate}", file=sys.stderr, flush=True)


def emit(value: Any) -> None:
    """Prints one JSON object on one line of stdout; a reader that has gone away does not stop the work."""
    say(json.dumps(value, allow_nan=False))


def say(line: str) -> None:
    """Prints a line on stdout; raises OutputError where there is no room for it."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        what = f"standard output: cannot be written: {escape(error.strerror)}"
        raise OutputError(what, "check the disk or the command behind it", "stdout") from error


def table(
    title: str, columns: Iterable[str], rows: Iterable[Sequence[object]], stderr: bool = True, quiet: bool = False
) -> None:
    """Prints a table; the first column is text, the others are numbers or short words, set to the right."""
    from rich.table import Table

    shown = Table(title=title or None, title_justify="left")
    for number, name in enumerate(columns):
        shown.add_column(name, justify="right" if number else "left", no_wrap=bool(number), overflow="fold")
    for row in rows:
        shown.add_row(*(escape(cell) for cell in row))
    console(quiet, stderr).print(shown)


def progress(screen: Console, *columns: ProgressColumn) -> Progress:
    """A progress display that vanishes when it is done, and is not shown where stderr is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    default = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(
        *(columns or default), console=screen, transient=True, disable=screen.quiet or not screen.is_terminal
    )
