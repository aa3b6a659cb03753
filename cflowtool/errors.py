"""The errors a user can meet, and the exit code that each of them ends the command with."""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """What the command's exit status means."""

    OK = 0
    SOME_FAILED = 1
    USAGE = 2
    WEIGHTS = 3
    OUTPUT = 4
    DIVERGED = 5
    INTERNAL = 70
    INTERRUPTED = 130
    TERMINATED = 143


class CflowError(Exception):
    """An expected error: `what` happened and `hint`, what to try; names inside both are already escaped.

    `reason` is a word for programs that stays the same when the sentences are worded anew (docs/reference/reports.md).
    """

    code: ClassVar[ExitCode] = ExitCode.INTERNAL
    reason: str = "error"

    def __init__(self, what: str, hint: str, reason: str = "") -> None:
        super().__init__(what, hint)
        self.what = what
        self.hint = hint
        if reason:
            self.reason = reason

    def __str__(self) -> str:
        return self.what


class UsageError(CflowError):
    """The command line asks for something that cannot be done."""

    code = ExitCode.USAGE
    reason = "usage"


class NoLikelihood(UsageError):
    """A model without a likelihood was asked to rank or to score."""

    reason = "no-likelihood"


class WeightsError(CflowError):
    """A weight file is missing, damaged or refused."""

    code = ExitCode.WEIGHTS
    reason = "weights"


class RecipeError(CflowError):
    """A recipe is missing or does not say what it must."""

    code = ExitCode.WEIGHTS
    reason = "recipe"


class InputError(CflowError):
    """One input cannot be read; the other inputs go on."""

    code = ExitCode.SOME_FAILED
    reason = "input"


class OutputError(CflowError):
    """An output cannot be written, and the next one will hardly fare better."""

    code = ExitCode.OUTPUT
    reason = "output"


class Diverged(CflowError):
    """Training met a loss that is not finite."""

    code = ExitCode.DIVERGED
    reason = "diverged"


def escape(text: object, limit: int = 300) -> str:
    r"""Shows `text` safely in a terminal: whatever is not printable (controls, ANSI, bidi, newlines, lone surrogates)
    becomes an escape like \x1b, and the middle is left out beyond `limit` characters."""
    raw = str(text)
    if len(raw) > 2 * limit:
        raw = raw[:limit] + raw[-limit:]
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in raw)
    if len(shown) <= limit:
        return shown
    tail = max(limit - 3, 0) // 2
    return shown[: max(limit - 3 - tail, 0)] + "..." + shown[len(shown) - tail :]
