"""Weights on a Hugging Face hub: pulled once, checked, recorded by their commit and used from the cache after that."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field

from . import model_card, weights
from .errors import WeightsError, escape
from .hub_errors import explained
from .images import write_bytes

if TYPE_CHECKING:
    from huggingface_hub import HfApi, ModelInfo

FILE = "model.safetensors"
_PREFERRED = (FILE, "weights.safetensors")
_MAIN = "main"
_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_COMMIT = r"[0-9a-f]{40}"
_LARGEST = 2 * 2**30
_TIMEOUT = 20.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class HubName:
    """``org/name@revision``: a repository and the branch, tag or commit of it that was asked for."""

    repo: str
    revision: str = _MAIN

    def __str__(self) -> str:
        return self.repo if self.revision == _MAIN else f"{self.repo}@{self.revision}"


class Pulled(BaseModel):
    """What a pulled weight is: the 40-hex commit that the revision was then, its file and the file's sha256."""

    model_config = ConfigDict(extra="forbid")
    repo: str
    revision: str
    commit: str = Field(pattern=f"^{_COMMIT}$")
    file: str = Field(pattern=r"^[^/\\]+\.safetensors$")
    sha256: str = Field(pattern="^[0-9a-f]{64}$")

    @property
    def name(self) -> str:
        """Return the name that ``--model`` takes."""
        return str(HubName(self.repo, self.revision))


def parse(name: str) -> HubName | None:
    """Return what ``org/name`` or ``org/name@revision`` means, or None for any other text or for what is a path."""
    repo, _, revision = name.partition("@")
    if name.endswith(weights.SUFFIX) or not _NAME.fullmatch(repo) or Path(name).exists():
        return None
    return HubName(repo, revision or _MAIN)


def choose(files: Iterable[str]) -> str | None:
    """Return which of a folder's files is its weight: model.safetensors, weights.safetensors, or the only one."""
    found = [file for file in files if file.endswith(weights.SUFFIX) and "/" not in file and "\\" not in file]
    preferred = [file for file in _PREFERRED if file in found]
    return (preferred or found if preferred or len(found) == 1 else [None])[0]


def is_offline(asked: bool = False) -> bool:
    """Return whether no connection may be made: because it was asked for, or HF_HUB_OFFLINE says so."""
    from huggingface_hub import constants

    return asked or constants.HF_HUB_OFFLINE


def resolve(name: str | None, task: str, offline: bool = False, say: Say | None = None, **options: object) -> Path:
    """Return the file of a weight by bundled name, file, folder or ``org/name[@revision]``, the last from the cache.

    What is not in the cache is pulled, and ``say`` is told so, unless we are offline. Errors as of ``weights.resolve``
    and ``pull``.
    """
    wanted = parse(name) if name else None
    if not wanted or name in weights.registry():
        return weights.resolve(_inside(name), task, **options)
    known = recorded(wanted)
    if known is None:
        if say and not is_offline(offline):
            say(f"{escape(wanted)} is not in the cache: pulling it from {escape(endpoint())}")
        known = pull(wanted, offline)
    return _unchanged(known)


def _inside(name: str | None) -> str | None:
    """Return the weight in a folder of that name, or the name itself."""
    if not name or not Path(name).is_dir():
        return name
    chosen = choose(sorted(path.name for path in Path(name).iterdir()))
    return str(Path(name, chosen)) if chosen else name


def pull(wanted: HubName, offline: bool = False) -> Pulled:
    """Bring a weight into the library's cache, check it, and record the commit that its revision is now.

    Nothing is recorded, so nothing is used, before the file's sha256 is the one that the hub states and the loader
    has taken the whole file. Offline the record of an earlier pull is returned, and no socket is opened. Raises
    WeightsError, and OutputError where the cache cannot be written.
    """
    if is_offline(offline):
        if known := recorded(wanted):
            return known
        what = f"{escape(wanted)} is not in the cache, and nothing may be downloaded offline"
        raise WeightsError(what, f"run cflow models pull {escape(wanted)} with a network, or copy HF_HOME here")
    with explained(str(wanted), endpoint()):
        info = _api().model_info(wanted.repo, revision=wanted.revision, files_metadata=True, timeout=_TIMEOUT)
        file = _weight_of(info, wanted)
        path = _download(info, file, wanted)
    weights.load(path)
    made = Pulled(repo=wanted.repo, revision=wanted.revision, commit=str(info.sha), file=file, sha256=_digest(path)[1])
    write_bytes(_record(wanted), (made.model_dump_json(indent=1) + "\n").encode(), overwrite=True)
    return made


def push(path: Path, wanted: HubName, private: bool = False) -> str:
    """Upload a weight as model.safetensors, with a README from its card unless there is one, and return the commit.

    The repository is made where it is missing, and so is the branch ``wanted.revision``. Raises WeightsError for a file
    that the loader refuses, and when the hub does.
    """
    card = weights.load(path).card
    if is_offline():
        raise WeightsError("nothing can be pushed offline", "unset HF_HUB_OFFLINE")
    from huggingface_hub import CommitOperationAdd

    api = _api()
    with explained(str(wanted), endpoint()):
        api.create_repo(wanted.repo, private=private or None, exist_ok=True)
        if wanted.revision != _MAIN:
            api.create_branch(wanted.repo, branch=wanted.revision, exist_ok=True)
        parts = [CommitOperationAdd(FILE, path.read_bytes())]
        if not api.file_exists(wanted.repo, "README.md", revision=wanted.revision):
            parts.append(CommitOperationAdd("README.md", model_card.render(card, wanted.repo).encode()))
        done = api.create_commit(
            wanted.repo, parts, commit_message=f"cflow weight {card.name}", revision=wanted.revision
        )
    return done.oid


def recorded(wanted: HubName) -> Pulled | None:
    """Return the record of an earlier pull whose file is still in the cache; any pull of a commit will do."""
    for known in pulled():
        if known.repo == wanted.repo and wanted.revision in (known.revision, known.commit):
            return known
    return None


def pulled() -> list[Pulled]:
    """Return the records of all pulled weights whose files are still in the cache, by name."""
    found = []
    for path in sorted(_records().glob("*.json")):
        with suppress(OSError, ValueError):
            known = Pulled.model_validate_json(path.read_bytes())
            if path == _record(HubName(known.repo, known.revision)) and location(known):
                found.append(known)
    return found


def location(known: Pulled) -> Path | None:
    """Return the file of a pulled weight in the library's cache, None where it was removed."""
    from huggingface_hub import constants, try_to_load_from_cache

    cache = constants.HF_HUB_CACHE
    path = try_to_load_from_cache(known.repo, known.file, cache_dir=cache, revision=known.commit)
    return Path(path) if isinstance(path, str) else None


def _unchanged(known: Pulled) -> Path:
    path = location(known)
    if path is None or _digest(path)[1] != known.sha256:
        what = f"{escape(known.name)} in the cache is not the file that was pulled"
        raise WeightsError(what, f"run cflow models pull {escape(known.name)}")
    return path


def _records() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HOME, "cflow")


def _record(wanted: HubName) -> Path:
    return _records() / f"{quote(f'{wanted.repo}@{wanted.revision}', safe='@')}.json"


def endpoint() -> str:
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def _api() -> HfApi:
    from huggingface_hub import HfApi, constants, utils

    utils.disable_progress_bars()  # type: ignore[attr-defined]
    return HfApi(endpoint=constants.ENDPOINT, library_name="cflowtool")


def _weight_of(info: ModelInfo, wanted: HubName) -> str:
    """Return the name of the repository's weight; raise WeightsError where there is none that may be pulled."""
    files = {entry.rfilename: entry.size or 0 for entry in info.siblings or []}
    file = choose(files)
    if file is None:
        what = f"{escape(wanted)} holds no one .safetensors file to take"
        raise WeightsError(what, "name a repository that cflow models push made, or give a file")
    if not re.fullmatch(_COMMIT, info.sha or ""):
        raise WeightsError(f"the hub names no commit for {escape(wanted)}", "check HF_ENDPOINT")
    if files[file] > _LARGEST:
        raise WeightsError(f"{escape(file)} of {escape(wanted)} is over 2 GiB", "name a repository of a cflow weight")
    return file


def _download(info: ModelInfo, file: str, wanted: HubName) -> Path:
    """Return the file at the commit, of the digest that the hub states, downloaded again where the cache is damaged."""
    from huggingface_hub import constants

    [entry] = [entry for entry in info.siblings or [] if entry.rfilename == file]
    stated = entry.lfs.sha256 if entry.lfs else entry.blob_id
    for force in (False, True):
        path = Path(
            _api().hf_hub_download(
                wanted.repo, file, revision=info.sha, cache_dir=constants.HF_HUB_CACHE, force_download=force
            )
        )
        if stated in _digest(path):
            return path
    what = f"{escape(file)} of {escape(wanted)} has not the checksum that the hub states"
    raise WeightsError(what, "try again; tell the repository's owner if it stays so")


def _digest(path: Path) -> tuple[str, str]:
    """Return the two checksums by which a hub names a file: git's of a blob and the sha256."""
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(), hashlib.sha256(data).hexdigest()
