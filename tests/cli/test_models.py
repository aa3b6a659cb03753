"""cflow models and cflow doctor."""

import shutil
from pathlib import Path

import pytest

from cflowtool import weights


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
