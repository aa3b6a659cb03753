"""Weights: what is saved comes back, and what does not fit its card is refused."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from cflowtool import weights
from cflowtool.errors import WeightsError

KEY = "cflowtool.card"


def parts(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return tensors and card of a weight."""
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
    return load_file(path), json.loads(header["__metadata__"][KEY])


def rewritten(path: Path, tensors: dict[str, torch.Tensor], card: object) -> Path:
    """Write a weight with this content beside ``path``."""
    target = path.parent / "changed.safetensors"
    save_file(tensors, target, {KEY: json.dumps(card)})
    return target


def test_a_saved_weight_comes_back_bit_for_bit(tiny_weight: Path, tmp_path: Path) -> None:
    loaded = weights.load(tiny_weight)
    again = tmp_path / "again.safetensors"
    weights.save(again, loaded.model, loaded.card)
    assert again.read_bytes() == tiny_weight.read_bytes()
    assert weights.load(again).card == loaded.card == weights.read_card(tiny_weight)


def test_actnorm_is_not_initialised_again_after_loading(tiny_weight: Path) -> None:
    flags = [b for n, b in weights.load(tiny_weight).model.named_buffers() if n.endswith("initialised")]
    stored = [v for n, v in load_file(tiny_weight).items() if n.endswith("initialised")]
    assert flags and [bool(f) for f in flags] == [bool(s) for s in stored]


@pytest.mark.parametrize(
    "change", ["nan", "missing", "extra", "shape", "dtype", "value", "recipe", "format", "no card"]
)
def test_a_file_that_does_not_fit_its_card_is_refused(tiny_weight: Path, change: str) -> None:
    tensors, card = parts(tiny_weight)
    name = next(n for n, v in tensors.items() if v.ndim == 4)
    if change == "nan":
        tensors[name] = tensors[name] * float("nan")
    elif change == "missing":
        del tensors[name]
    elif change == "extra":
        tensors["../../x"] = torch.zeros(1)
    elif change == "shape":
        tensors[name] = tensors[name][:1].clone()
    elif change == "dtype":
        tensors[name] = tensors[name].double()
    elif change == "value":
        tensors[name] = tensors[name] + 1
    elif change == "recipe":
        card["recipe"]["model"]["name"] = "os.system"
    elif change == "format":
        card["unknown"] = 1
    path = rewritten(tiny_weight, tensors, {} if change == "no card" else card)
    with pytest.raises(WeightsError):
        weights.load(path)
    assert weights.verify(path).problems


@pytest.mark.parametrize(
    "data", [b"", b"text", b"\xff" * 64, struct.pack("<Q", 2**62) + b"{}", struct.pack("<Q", 2) + b"[]"]
)
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(WeightsError):
        weights.load(path)


def test_duplicate_keys_are_refused(tiny_weight: Path, tmp_path: Path) -> None:
    data = tiny_weight.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = data[8 : 8 + length].rstrip()
    doubled = header[:-1] + b',"__metadata__":{}}'
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(doubled)) + doubled + data[8 + length :])
    with pytest.raises(WeightsError, match="refused"):
        weights.load(path)


def test_names_and_files_resolve_and_unknown_ones_do_not(tiny_weight: Path) -> None:
    assert weights.resolve(str(tiny_weight), "super-resolve") == tiny_weight
    with pytest.raises(WeightsError):
        weights.resolve("no-such-weight", "super-resolve")
    with pytest.raises(WeightsError):
        weights.resolve(None, "super-resolve", scale=17)


@pytest.mark.parametrize("name", sorted(weights.registry()))
def test_every_bundled_weight_loads_within_twelve_mebibytes(name: str) -> None:
    path = weights.registry()[name]
    report = weights.verify(path)
    assert not report.problems
    assert report.mebibytes <= 12
    assert weights.read_card(path).name == name == path.stem
