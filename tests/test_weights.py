"""Weights: what is saved comes back, and what does not fit its card is refused."""

import json
import os
import struct
import tracemalloc
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


def test_a_weight_in_half_precision_is_half_as_large_and_keeps_eleven_bits(tiny_weight: Path, tmp_path: Path) -> None:
    loaded, half, again = weights.load(tiny_weight), tmp_path / "half.safetensors", tmp_path / "again.safetensors"
    weights.save(half, loaded.model, loaded.card.model_copy(update={"storage": "float16"}))
    own, found = loaded.model.state_dict(), weights.load(half)
    stored = {name: value for name, value in load_file(half).items() if own[name].is_floating_point()}
    assert stored and all(value.dtype == torch.float16 for value in stored.values())
    for name, value in found.model.state_dict().items():
        assert value.dtype == own[name].dtype
        assert torch.allclose(value.double(), own[name].double(), rtol=2**-11, atol=2**-24)
    weights.save(again, found.model, found.card)
    assert again.read_bytes() == half.read_bytes()
    with pytest.raises(WeightsError, match="not as its recipe says"):
        weights.load(rewritten(half, load_file(half), {**parts(half)[1], "storage": "float32"}))


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


@pytest.mark.parametrize(
    ("field", "value"),
    [("width", 10**9), ("steps", 10**9), ("levels", 10**9), ("blocks", 4_000), ("width", 4_000), ("steps", 4_000),
     ("trunk_channels", 4_000), ("levels", 4_000), ("width", 10**4000), ("width", -1), ("steps", 1.5), ("width", "8"),
     ("shift", "x" * 10**6), ("growth", [8]), ("unknown", 1), ("scale_bound", 1e308), ("unshuffle", 4_000)],
)  # fmt: skip
def test_a_card_that_asks_for_more_than_is_there_is_refused_before_it_is_built(
    tiny_weight: Path, field: str, value: object
) -> None:
    tensors, card = parts(tiny_weight)
    card["recipe"]["model"]["config"][field] = value
    path = rewritten(tiny_weight, tensors, card)
    tracemalloc.start()
    with pytest.raises(WeightsError):
        weights.load(path)
    assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("place", "value"),
    [(("format",), 2), (("seconds",), float("nan")), (("steps",), -1), (("results",), {"psnr": float("inf")}),
     (("recipe", "name"), "a\u202eb"), (("recipe", "name"), 3), (("recipe",), None), (("tensors_sha256",), "0" * 64),
     (("recipe", "task", "options"), {"scale": 10**9}), (("recipe", "task", "options"), {"scale": 3}),
     (("recipe", "model", "name"), "caflow"), (("data",), [{"name": "a", "images": -1}]), (("notes",), "text")],
)  # fmt: skip
def test_a_card_with_strange_values_is_refused(tiny_weight: Path, place: tuple[str, ...], value: object) -> None:
    tensors, card = parts(tiny_weight)
    inner = card
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    with pytest.raises(WeightsError):
        weights.load(rewritten(tiny_weight, tensors, card))


def test_tensors_are_not_read_before_the_header_is_believed(tiny_weight: Path, tmp_path: Path) -> None:
    _, card = parts(tiny_weight)
    size = 2**30
    entry = {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}
    header = json.dumps({"__metadata__": {KEY: json.dumps(card)}, "x": entry}).encode()
    path = tmp_path / "large.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + size)
    tracemalloc.start()
    with pytest.raises(WeightsError, match="not those of its recipe"):
        weights.load(path)
    assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    tracemalloc.stop()


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (tmp_path, tmp_path / "fifo", tmp_path / "loop", tmp_path / "none", Path("/dev/zero"), Path("a\0b")):
        for look in (weights.load, weights.read_card):
            with pytest.raises(WeightsError, match="refused"):
                look(path)


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
