"""Exit codes, the two-line errors, and names made safe to print."""

import random
import subprocess
import sys

import pytest

from cflowtool import errors
from cflowtool.errors import CflowError, ExitCode, escape


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("UsageError", 2), ("NoLikelihood", 2), ("WeightsError", 3), ("RecipeError", 3),
        ("InputError", 1), ("OutputError", 4), ("Diverged", 5),
    ],
)  # fmt: skip
def test_each_error_knows_its_exit_code(kind: str, code: int) -> None:
    error = getattr(errors, kind)("what", "hint")
    assert isinstance(error, CflowError)
    assert (error.code, error.what, error.hint, str(error)) == (code, "what", "hint", "what")


def test_exit_codes_are_the_contract() -> None:
    assert [int(code) for code in ExitCode] == [0, 1, 2, 3, 4, 5, 70, 130, 143]


def test_what_is_escaped_prints_on_one_line() -> None:
    generator = random.Random(0)
    for _ in range(300):
        text = "".join(
            chr(generator.choice([generator.randrange(0x110000), generator.randrange(256)])) for _ in range(40)
        )
        shown = escape(text)
        assert shown.isprintable() and len(shown.encode()) > 0 and len(shown) <= 300


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[31m", r"\x1b[31m"),
        ("a\nb", r"a\nb"),
        ("\u202egnp", r"\u202egnp"),
        ("\udcff", r"\udcff"),
        ("ü 图.png",) * 2,
    ],
)
def test_escapes(raw: str, shown: str) -> None:
    assert escape(raw) == shown


def test_long_names_keep_both_ends() -> None:
    for limit in (3, 10, 11, 300):
        shown = escape("a" * 5000 + "z" * 5000, limit)
        assert len(shown) == limit and "..." in shown
    assert escape("a" * 500 + "z" * 500, 20).strip("az") == "..."


def test_errors_do_without_torch() -> None:
    code = "import sys, cflowtool.errors; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
