"""A run's state comes back bit for bit, and a damaged file costs no more than the steps since the one before."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cflowtool import checkpoint
from cflowtool.checkpoint import NAME, PREVIOUS, State
from cflowtool.errors import OutputError, WeightsError
from cflowtool.flows.actnorm import ActNorm

Run = tuple[nn.Module, nn.Module, torch.optim.Adam]


def a_run(seed: int, steps: int) -> Run:
    """A model with buffers, its average and Adam after some steps; one parameter never had a gradient."""
    torch.manual_seed(seed)
    model, ema = (nn.Sequential(nn.Conv2d(3, 4, 3), nn.ParameterList([torch.zeros(2)])) for _ in range(2))
    for module in (model, ema):
        module.append(ActNorm(4))
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        model[2](model[0](torch.randn(2, 3, 5, 5)), torch.zeros(1, 0, 1, 1))[0].pow(4).sum().backward()
        optimizer.step()
    return model, ema, optimizer


def assert_equal(first: nn.Module, second: nn.Module) -> None:
    one, other = first.state_dict(), second.state_dict()
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_model_average_and_adam_come_back_bit_for_bit(tmp_path: Path) -> None:
    model, ema, optimizer = a_run(0, 3)
    checkpoint.write(tmp_path, model, ema, optimizer, State(7, 1.5, {"name": "tiny", "model": {"steps": 2}}))
    other, other_ema, other_optimizer = a_run(1, 0)
    tensors, state = checkpoint.read(tmp_path / NAME)
    other.load_state_dict(checkpoint.part(tensors, "model"))
    other_ema.load_state_dict(checkpoint.part(tensors, "ema"))
    checkpoint.restore_optimizer(other_optimizer, tensors)
    assert_equal(model, other)
    assert_equal(ema, other_ema)
    assert bool(other[2].initialised) and not other_ema[2].initialised
    before, after = optimizer.state_dict()["state"], other_optimizer.state_dict()["state"]
    assert before.keys() == after.keys() and len(before) == 4
    assert all(torch.equal(before[i][key], after[i][key]) for i in before for key in before[i])
    assert state == State(7, 1.5, {"name": "tiny", "model": {"steps": 2}})


def test_the_next_adam_step_is_the_one_that_would_have_been(tmp_path: Path) -> None:
    model, ema, optimizer = a_run(0, 3)
    checkpoint.write(tmp_path, model, ema, optimizer, State())
    other, _, other_optimizer = a_run(1, 0)
    tensors, _ = checkpoint.read(tmp_path / NAME)
    other.load_state_dict(checkpoint.part(tensors, "model"))
    checkpoint.restore_optimizer(other_optimizer, tensors)
    for one, adam in ((model, optimizer), (other, other_optimizer)):
        adam.zero_grad()
        for parameter in (one[0].weight, one[0].bias):
            parameter.grad = torch.full_like(parameter, 0.3)
        adam.step()
    assert_equal(model, other)


def written(folder: Path, *steps: int) -> None:
    for step in steps:
        checkpoint.write(folder, *a_run(0, 0), State(step))


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def step_of(folder: Path) -> int | None:
    found = checkpoint.newest(folder)
    return found and found[1].step


def test_the_newest_of_two_is_kept_and_nothing_else(tmp_path: Path) -> None:
    written(tmp_path, 1, 2, 3)
    assert {path.name for path in tmp_path.iterdir()} == {NAME, PREVIOUS} and step_of(tmp_path) == 3


@pytest.mark.parametrize("damage", [truncated, emptied, Path.unlink])
def test_a_damaged_newest_file_falls_back_to_the_one_before(damage: Callable[[Path], None], tmp_path: Path) -> None:
    written(tmp_path, 1, 2)
    damage(tmp_path / NAME)
    assert step_of(tmp_path) == 1 and not (tmp_path / NAME).exists()
    damage(tmp_path / PREVIOUS)
    if (tmp_path / PREVIOUS).exists():
        with pytest.raises(WeightsError):
            step_of(tmp_path)
    else:
        assert step_of(tmp_path) is None


def test_what_was_damaged_is_put_aside_and_said_once(tmp_path: Path) -> None:
    written(tmp_path, 4, 9)
    truncated(tmp_path / NAME)
    said: list[str] = []
    for _ in range(2):
        found = checkpoint.newest(tmp_path, said.append)
        assert found is not None and found[1].step == 4
    assert len(said) == 1 and "step 4" in said[0] and (tmp_path / f"{NAME}.damaged").is_file()


def test_a_disk_that_refuses_leaves_both_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, 1, 2)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OutputError, match="no space"):
        written(tmp_path, 3)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_without_one_has_none(tmp_path: Path) -> None:
    assert step_of(tmp_path) is None and step_of(tmp_path / "missing") is None


@pytest.mark.parametrize("damage", [truncated, emptied, Path.unlink])
def test_reading_a_damaged_file_is_a_weights_error(damage: Callable[[Path], None], tmp_path: Path) -> None:
    written(tmp_path, 1)
    damage(tmp_path / NAME)
    with pytest.raises(WeightsError):
        checkpoint.read(tmp_path / NAME)


def test_another_safetensors_file_is_a_weights_error(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / NAME)
    with pytest.raises(WeightsError):
        checkpoint.read(tmp_path / NAME)


def test_a_folder_that_cannot_be_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        written(tmp_path / "file", 1)


def test_parts_are_told_apart_by_their_whole_prefix() -> None:
    tensors = {"model.a": torch.zeros(1), "model.b.model.c": torch.ones(1), "models.d": torch.ones(1)}
    assert checkpoint.part(tensors, "model").keys() == {"a", "b.model.c"}
