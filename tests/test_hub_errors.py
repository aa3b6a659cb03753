"""Every way in which a hub can fail is two lines and the right exit code."""

import errno

import pytest

from cflowtool.errors import OutputError, UsageError, WeightsError
from cflowtool.hub_errors import explained, meaning

WHERE = "http://localhost:1"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EFBIG])
def test_a_cache_that_cannot_be_written_is_an_output_error(number: int) -> None:
    assert isinstance(meaning(OSError(number, "no"), "a/b", WHERE), OutputError)


@pytest.mark.parametrize(
    "error", [OSError("reset"), TimeoutError(), ValueError("odd answer"), RuntimeError("xet"), KeyError("url")]
)
def test_anything_else_is_a_hub_that_cannot_be_reached(error: Exception) -> None:
    found = meaning(error, "a/b", WHERE)
    assert isinstance(found, WeightsError) and WHERE in found.what and "\n" not in found.what + found.hint


def test_names_are_escaped() -> None:
    from huggingface_hub.errors import HFValidationError

    found = meaning(HFValidationError("no"), "a/\x1b[31m", WHERE + "\n")
    assert "\x1b" not in found.what and "\\x1b" in found.what


def test_our_own_errors_pass() -> None:
    with pytest.raises(UsageError, match="mine"), explained("a/b", WHERE):
        raise UsageError("mine", "hint")
    with pytest.raises(KeyboardInterrupt), explained("a/b", WHERE):
        raise KeyboardInterrupt
