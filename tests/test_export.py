"""From a run to a card."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cflowtool.dataset import held_out
from cflowtool.export import command, data_sets, terms


def test_terms_come_from_the_folder_or_the_one_above(tmp_path: Path) -> None:
    inner = tmp_path / "set" / "images"
    inner.mkdir(parents=True)
    assert terms(inner) == "not stated"
    (tmp_path / "set" / "SOURCE.md").write_text("A set. Licence: for research only. More words.")
    assert terms(inner) == terms(tmp_path / "set") == "for research only"


def test_data_sets_count_what_is_trained_on(tmp_path: Path, photo: Callable[..., Path]) -> None:
    names = [f"{i}.png" for i in range(40)]
    for name in names:
        photo(tmp_path / name)
    (found,) = data_sets([tmp_path])
    assert found.images == sum(not held_out(Path(name)) for name in names) < 40 or not any(
        map(held_out, map(Path, names))
    )


@pytest.mark.parametrize("extra", [["--resume"], ["--out", "/x/y"], ["-o", "r"], ["--out=r", "--json", "--quiet"], []])
def test_a_command_says_what_decides_the_weight_and_nothing_else(
    extra: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["cflow", "train", "x", "--data", "/a/b/c", *extra, "--data=/e/f", "--steps", "3"])
    assert command() == "cflow train x --data c --data=f --steps 3"
