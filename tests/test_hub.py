"""What comes from a hub is pinned, checked and used without a network; what does not fit is never used."""

import hashlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from cflowtool import hub as weights_hub
from cflowtool import weights
from cflowtool.errors import CflowError, OutputError, WeightsError
from cflowtool.hub import HubName, Pulled, choose, parse, pull, push, resolve
from tests.local_hub import LocalHub

NAME = HubName("org/tiny")


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function after which whoever opens a socket fails."""

    class Forbidden(socket.socket):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            raise AssertionError("a socket was opened")

    def forbid() -> None:
        monkeypatch.setattr(socket, "socket", Forbidden)
        monkeypatch.setattr(socket, "getaddrinfo", Forbidden)
        monkeypatch.setattr(socket, "create_connection", Forbidden)

    return forbid


@pytest.fixture
def content(tiny_weight: Path) -> bytes:
    return tiny_weight.read_bytes()


def altered(path: Path, content: bytes) -> bytes:
    """The weight again with one value changed and a card that fits it."""
    path.write_bytes(content)
    loaded = weights.load(path)
    with torch.no_grad():
        next(iter(loaded.model.parameters())).add_(0.25)
    weights.save(path, loaded.model, loaded.card)
    return path.read_bytes()


def test_a_pull_brings_the_bytes_and_records_commit_and_checksum(hub: LocalHub, content: bytes) -> None:
    commit = hub.add("org/tiny", {"model.safetensors": content, "README.md": b"words", "pytorch_model.bin": b"pickle"})
    known = pull(NAME)
    digest = hashlib.sha256(content).hexdigest()
    assert known == Pulled(repo="org/tiny", revision="main", commit=commit, file="model.safetensors", sha256=digest)
    path = weights_hub.location(known)
    assert path is not None and path.read_bytes() == content and commit in path.parts
    assert weights_hub.pulled() == [known] and resolve("org/tiny", "super-resolve") == path
    assert not [line for line in hub.requests if "README" in line or "pickle" in line or ".bin" in line]


def test_a_revision_stays_what_it_was_until_it_is_pulled_again(hub: LocalHub, content: bytes, tmp_path: Path) -> None:
    first = hub.add("org/tiny", {"model.safetensors": content})
    path = resolve("org/tiny", "super-resolve")
    second = hub.add("org/tiny", {"model.safetensors": altered(tmp_path / "x.safetensors", content)})
    assert resolve("org/tiny", "super-resolve") == path and first in path.parts
    assert pull(NAME).commit == second
    assert second in resolve("org/tiny", "super-resolve").parts
    assert resolve(f"org/tiny@{first}", "super-resolve").read_bytes() == content


def test_branches_with_slashes_and_commits_are_revisions(hub: LocalHub, content: bytes) -> None:
    commit = hub.add("org/tiny", {"model.safetensors": content}, "feature/x")
    hub.add("org/tiny", {"README.md": b""}, "main")
    assert pull(HubName("org/tiny", "feature/x")).commit == pull(HubName("org/tiny", commit)).commit == commit
    assert {known.name for known in weights_hub.pulled()} == {"org/tiny@feature/x", f"org/tiny@{commit}"}


@pytest.mark.parametrize("how", ["asked", "environment"])
def test_offline_the_cache_is_used_and_no_socket_is_opened(
    how: str, hub: LocalHub, content: bytes, no_sockets: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = hub.add("org/tiny", {"model.safetensors": content})
    known = pull(NAME)
    no_sockets()
    if how == "environment":
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    asked = how == "asked"
    assert pull(NAME, asked) == known
    for name in ("org/tiny", f"org/tiny@{commit}"):
        assert resolve(name, "super-resolve", asked).read_bytes() == content
    for act in (lambda: pull(HubName("org/other"), asked), lambda: resolve("org/tiny@dev", "super-resolve", asked)):
        with pytest.raises(WeightsError, match="not in the cache"):
            act()


def test_what_is_in_the_cache_needs_no_network_either(
    hub: LocalHub, content: bytes, no_sockets: Callable[[], None]
) -> None:
    hub.add("org/tiny", {"model.safetensors": content})
    said: list[str] = []
    path = resolve("org/tiny", "super-resolve", say=said.append)
    assert len(said) == 1 and hub.endpoint in said[0]
    no_sockets()
    assert resolve("org/tiny", "super-resolve", say=said.append) == path and len(said) == 1


def not_finite(path: Path, content: bytes) -> bytes:
    save_file({"weight": torch.full((2,), torch.nan)}, path)
    return path.read_bytes()


def without_card(path: Path, content: bytes) -> bytes:
    save_file({"weight": torch.zeros(2)}, path)
    return path.read_bytes()


def flipped(path: Path, content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("change", [not_finite, without_card, flipped])
def test_what_the_loader_refuses_is_not_recorded(
    change: Callable[[Path, bytes], bytes], hub: LocalHub, content: bytes, tmp_path: Path
) -> None:
    hub.add("org/tiny", {"model.safetensors": change(tmp_path / "x.safetensors", content)})
    with pytest.raises(WeightsError, match="refused"):
        pull(NAME)
    assert weights_hub.pulled() == []


def test_bytes_other_than_those_stated_are_not_taken(hub: LocalHub, content: bytes, tmp_path: Path) -> None:
    hub.add("org/tiny", {"model.safetensors": content})
    hub.tampered["model.safetensors"] = altered(tmp_path / "x.safetensors", content)
    with pytest.raises(WeightsError, match="checksum"):
        pull(NAME)
    assert weights_hub.pulled() == []
    hub.tampered.clear()
    assert pull(NAME).sha256 == hashlib.sha256(content).hexdigest()


def test_a_cached_file_that_changed_is_refused_and_pulled_anew(hub: LocalHub, content: bytes, tmp_path: Path) -> None:
    hub.add("org/tiny", {"model.safetensors": content})
    path = resolve("org/tiny", "super-resolve")
    path.resolve().write_bytes(altered(tmp_path / "x.safetensors", content))
    with pytest.raises(WeightsError, match="not the file that was pulled"):
        resolve("org/tiny", "super-resolve")
    pull(NAME)
    assert resolve("org/tiny", "super-resolve").read_bytes() == content
    path.resolve().unlink()
    assert weights_hub.pulled() == []
    assert resolve("org/tiny", "super-resolve").read_bytes() == content


def gated(hub: LocalHub) -> None:
    hub.gated.add("org/tiny")


def locked(hub: LocalHub) -> None:
    hub.token = "a secret"


def elsewhere(hub: LocalHub) -> None:
    hub.commits["org/else"] = hub.commits.pop("org/tiny")


def nothing(hub: LocalHub) -> None:
    hub.commits["org/tiny"][hub.branches["org/tiny"]["main"]].clear()


@pytest.mark.parametrize(
    ("spoil", "name", "said"),
    [
        (gated, "org/tiny", "gated"),
        (locked, "org/tiny", "401"),
        (elsewhere, "org/tiny", "no repository"),
        (nothing, "org/tiny", "no one .safetensors"),
        (lambda hub: None, "org/tiny@none", "no revision none"),
        (lambda hub: None, "org/tiny--x", "no name"),
    ],
)
def test_what_a_hub_refuses_is_told_in_two_lines(
    spoil: Callable[[LocalHub], None], name: str, said: str, hub: LocalHub, content: bytes
) -> None:
    hub.add("org/tiny", {"model.safetensors": content})
    spoil(hub)
    with pytest.raises(WeightsError) as caught:
        resolve(name, "super-resolve")
    assert said in caught.value.what and caught.value.hint
    assert "\n" not in caught.value.what + caught.value.hint and weights_hub.pulled() == []


def test_a_token_opens_a_private_repository(hub: LocalHub, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("org/tiny", {"model.safetensors": content})
    hub.token = "a secret"
    monkeypatch.setenv("HF_TOKEN", "a secret")
    assert pull(NAME).repo == "org/tiny"


def test_no_hub_at_all_is_a_weights_error(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(WeightsError, match="cannot be reached"):
        pull(NAME)


def test_a_cache_that_cannot_be_written_is_an_output_error(hub: LocalHub, content: bytes) -> None:
    from huggingface_hub import constants

    hub.add("org/tiny", {"model.safetensors": content})
    Path(constants.HF_HOME, "cflow").write_text("in the way")
    with pytest.raises(OutputError):
        pull(NAME)


@pytest.mark.parametrize("revision", ["main", "dev"])
def test_what_is_pushed_comes_back_bit_for_bit(revision: str, hub: LocalHub, tiny_weight: Path, content: bytes) -> None:
    target = HubName("org/new", revision)
    commit = push(tiny_weight, target, private=True)
    assert hub.private == {"org/new": True} and hub.branches["org/new"][revision] == commit
    assert pull(target).commit == commit
    assert resolve(str(target), "super-resolve").read_bytes() == content
    assert b"# tiny" in hub.commits["org/new"][commit]["README.md"]


def test_a_second_push_leaves_the_readme_alone(hub: LocalHub, tiny_weight: Path) -> None:
    push(tiny_weight, NAME)
    hub.add("org/tiny", {"README.md": b"by hand", "model.safetensors": b"old"})
    commit = push(tiny_weight, NAME)
    files = hub.commits["org/tiny"][commit]
    assert files == {"README.md": b"by hand", "model.safetensors": tiny_weight.read_bytes()}


def test_only_whole_weights_are_pushed_and_none_offline(
    hub: LocalHub, tiny_weight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(tiny_weight.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="refused"):
        push(bad, NAME)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="offline"):
        push(tiny_weight, NAME)
    assert hub.requests == [] and hub.commits == {}


@pytest.mark.parametrize("record", [b"", b"[]", b'{"repo": "org/tiny"}', b"\xff"])
def test_a_record_that_is_damaged_counts_as_none(record: bytes, hub: LocalHub, content: bytes) -> None:
    hub.add("org/tiny", {"model.safetensors": content})
    pull(NAME)
    weights_hub._record(NAME).write_bytes(record)
    assert weights_hub.pulled() == []
    assert resolve("org/tiny", "super-resolve").read_bytes() == content
    assert len(weights_hub.pulled()) == 1


@pytest.mark.parametrize("file", ["../x.safetensors", "/x.safetensors", "x.bin", "a\\b.safetensors"])
def test_a_record_never_leads_out_of_its_folder(file: str) -> None:
    with pytest.raises(ValueError, match="file"):
        Pulled(repo="a/b", revision="main", commit="0" * 40, file=file, sha256="0" * 64)


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        (["a.bin", "model.safetensors", "weights.safetensors"], "model.safetensors"),
        (["weights.safetensors", "checkpoint.safetensors"], "weights.safetensors"),
        (["tiny.safetensors", "README.md"], "tiny.safetensors"),
        (["a.safetensors", "b.safetensors"], None),
        (["sub/model.safetensors", "..\\model.safetensors", "model.pt"], None),
        ([], None),
    ],
)
def test_a_folder_has_one_weight_or_none(files: list[str], chosen: str | None) -> None:
    assert choose(files) == choose(files[::-1]) == chosen


@pytest.mark.parametrize("text", ["tiny", "a/b/c", "a/b.safetensors", "./a", "/a", "a/", "../x", "", "a b/c", "@main"])
def test_what_is_no_name_on_a_hub(text: str) -> None:
    assert parse(text) is None


def test_names_on_a_hub_are_read_as_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (NAME, HubName("org/tiny", "v1.0"), HubName("o.r-g/t_y", "refs/pr/1")):
        assert parse(str(name)) == name
    assert parse("org/tiny@") == NAME
    Path("org").mkdir()
    Path("org", "tiny").touch()
    assert parse("org/tiny") is None


def test_a_folder_stands_for_the_weight_in_it(tiny_weight: Path, content: bytes, tmp_path: Path) -> None:
    for name in ("weights.safetensors", "checkpoint.safetensors"):
        (tmp_path / name).write_bytes(content if name[0] == "w" else b"")
    assert resolve(str(tmp_path), "super-resolve") == tmp_path / "weights.safetensors"
    (tmp_path / "weights.safetensors").rename(tmp_path / "other.safetensors")
    with pytest.raises(WeightsError):
        resolve(str(tmp_path), "super-resolve")


def test_every_error_is_one_of_ours(hub: LocalHub, content: bytes) -> None:
    """Whatever status each request gets."""
    hub.add("org/tiny", {"model.safetensors": content})
    for status in (400, 401, 403, 404, 418, 429, 500):
        hub.status = status
        with pytest.raises(CflowError):
            pull(NAME)
