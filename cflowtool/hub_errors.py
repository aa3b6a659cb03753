"""What a hub's refusals mean, in two lines each."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .errors import CflowError, OutputError, WeightsError, escape

_LOGIN = "log in with hf auth login, or set HF_TOKEN"
_UNWRITABLE = {errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.ENOSPC, errno.EPERM, errno.EROFS}


@contextmanager
def explained(name: str, endpoint: str) -> Iterator[None]:
    """Turn whatever the library raises about ``org/name[@revision]`` at an endpoint into a CflowError."""
    try:
        yield
    except CflowError:
        raise
    except Exception as error:
        raise meaning(error, name, endpoint) from error


def meaning(error: Exception, name: str, endpoint: str) -> CflowError:
    """Return the WeightsError that an error of the library is, or the OutputError where the cache cannot be written."""
    from huggingface_hub import errors

    repo, _, revision = escape(name).partition("@")
    where = escape(endpoint)
    known: dict[type[Exception], tuple[str, str]] = {
        errors.HFValidationError: (f"{escape(name)} is no name of a repository", "write it like org/name@revision"),
        errors.GatedRepoError: (f"{repo} is gated", f"ask for access on its page, then {_LOGIN}"),
        errors.RevisionNotFoundError: (f"{repo} has no revision {revision}", "name a branch, a tag or a commit"),
        errors.RepositoryNotFoundError: (
            f"{where} has no repository {repo}, or shows it to others only",
            f"check the name; for a private one {_LOGIN}",
        ),
        errors.LocalTokenNotFoundError: ("the hub wants a token", _LOGIN),
    }
    found = next((lines for kind, lines in known.items() if isinstance(error, kind)), None)
    return WeightsError(*found) if found else _other(error, where)


def _other(error: Exception, where: str) -> CflowError:
    from huggingface_hub import constants, errors

    if isinstance(error, errors.HfHubHTTPError):
        status: Any = error.response.status_code
        return WeightsError(f"{where} answered {status}", _LOGIN if status in (401, 403) else "try again later")
    if isinstance(error, OSError) and error.errno in _UNWRITABLE:
        what = f"the cache {escape(constants.HF_HOME)} cannot be written: {error.strerror}"
        return OutputError(what, "free space, or set HF_HOME to another folder")
    what = f"{where} cannot be reached: {type(error).__name__}"
    return WeightsError(what, "check the network and HF_ENDPOINT, or give a file instead")
