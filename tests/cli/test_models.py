"""cflow models and cflow doctor."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cflowtool import weights
from tests.local_hub import LocalHub


@pytest.fixture
def bundled(tmp_path_factory: pytest.TempPathFactory, tiny_weight: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of bundled weights that holds the tiny one."""
    folder = tmp_path_factory.mktemp("bundled")
    shutil.copy(tiny_weight, folder)
    monkeypatch.setattr(weights, "folders", lambda: [folder])
    return folder


def test_list_info_verify(cflow, bundled: Path) -> None:
    [row] = cflow("models", "list", "--json").objects
    assert (row["name"], row["model"], row["task"]) == ("tiny", "cnf", "super-resolve scale=2")
    assert "tiny" in cflow("models", "list").out
    [card] = cflow("models", "info", "tiny", "--json").objects
    assert card["recipe"]["name"] == "tiny"
    assert '"name": "tiny"' in cflow("models", "info", "tiny").out
    result = cflow("models", "verify", "--json")
    [report] = result.objects
    assert (result.code, report["ok"], report["problems"]) == (0, True, [])
    assert report["condition_number"] >= 1


def test_a_damaged_weight_is_refused(cflow, bundled: Path) -> None:
    path = bundled / "tiny.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    result = cflow("models", "verify")
    assert (result.code, "refused" in result.out) == (3, True)
    assert cflow("doctor").code == 3
    path.write_bytes(b"nothing")
    assert "refused" in cflow("models", "list").out
    assert cflow("models", "info", "tiny").code == 3


def test_no_weights_at_all(cflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "folders", list)
    assert cflow("models", "list").code == 0
    assert cflow("models", "verify").code == 3
    result = cflow("models", "info", "nonsense")
    assert (result.code, len(result.err.splitlines())) == (3, 2)


def test_doctor(cflow, bundled: Path) -> None:
    result = cflow("doctor", "--json")
    [found] = result.objects
    assert (result.code, found["weights"]) == (0, {"tiny": []})
    assert {"torch", "threads", "devices", "free disk GiB", "native bf16"} <= found.keys()
    assert "tiny: whole" in cflow("doctor").out


def test_a_pulled_weight_is_at_hand_in_every_command(
    cflow, hub: LocalHub, tiny_weight: Path, photo: Callable[..., Path]
) -> None:
    commit = hub.add("org/tiny", {"model.safetensors": tiny_weight.read_bytes()}, "v1")
    photo(Path("a.png"))
    result = cflow("models", "pull", "org/tiny@v1", "--json")
    [row] = result.objects
    assert (result.code, row["commit"], row["name"]) == (0, commit, "org/tiny@v1")
    assert row["name"] in [found["name"] for found in cflow("models", "list", "--json").objects]
    assert [found["ok"] for found in cflow("models", "verify", "org/tiny@v1", "--json").objects] == [True]
    assert cflow("models", "info", "org/tiny@v1", "--offline").code == 0
    words = ("--model", "org/tiny@v1", "--offline", "--device", "cpu")
    result = cflow("super-resolve", "a.png", *words)
    assert (result.code, "pulling" in result.err) == (0, False)
    assert cflow("rank", "a.png", "out/a.png", "--task", "super-resolve", *words).code == 0


def test_a_weight_is_pulled_by_the_command_that_needs_it_and_the_command_says_so(
    cflow, hub: LocalHub, tiny_weight: Path, photo: Callable[..., Path]
) -> None:
    hub.add("org/tiny", {"weights.safetensors": tiny_weight.read_bytes()})
    photo(Path("a.png"))
    words = ("super-resolve", "a.png", "--model", "org/tiny", "--device", "cpu")
    refused = cflow(*words, "--offline")
    assert (refused.code, len(refused.err.splitlines()), hub.requests) == (3, 2, [])
    assert f"pulling it from {hub.endpoint}" in cflow(*words).err
    assert "pulling" not in cflow(*words, "--overwrite").err


def test_what_is_pushed_can_be_pulled(cflow, hub: LocalHub, bundled: Path) -> None:
    [row] = cflow("models", "push", "tiny", "org/new", "--private", "--revision", "dev", "--json").objects
    assert hub.branches["org/new"]["dev"] == row["commit"] and hub.private["org/new"]
    result = cflow("models", "pull", "org/new@dev")
    assert result.code == 0 and row["commit"] in result.out


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["pull", "org/none"], 3),
        (["pull", "org/tiny@none"], 3),
        (["pull", "tiny"], 2),
        (["push", "nonsense", "org/new"], 3),
        (["push", "tiny", "nonsense"], 2),
        (["info", "org/none"], 3),
    ],
)
def test_what_a_hub_has_not_is_two_lines(cflow, words: list[str], code: int, hub: LocalHub, bundled: Path) -> None:
    hub.add("org/tiny", {"README.md": b""})
    result = cflow("models", *words)
    lines = [line for line in result.err.splitlines() if "pulling" not in line]
    assert (result.code, len(lines), result.out) == (code, 2, "")


def test_the_hub_and_the_cache_are_those_of_the_environment(hub: LocalHub, tiny_weight: Path, tmp_path: Path) -> None:
    commit = hub.add("org/tiny", {"model.safetensors": tiny_weight.read_bytes()})
    named = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-m", "cflowtool", "models", "pull", "org/tiny"]
    done = subprocess.run(command, env={**os.environ, **named}, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "") and commit in done.stdout
    assert list((tmp_path / "home" / "cflow").iterdir())
