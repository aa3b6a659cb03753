"""The shared options, and how a dataclass of them becomes a command's."""

import inspect
from dataclasses import dataclass

from cflowtool.cli.options import Json, RestoreOptions, Seed, flat

CONTRACT = [
    *("--samples", "--temp", "--keep", "--seed", "--model", "--out", "--format", "--device", "--precision", "--tile"),
    *("--recursive", "--skip-existing", "--overwrite", "--mean", "--std", "--sheet", "--report", "--json", "--quiet"),
    "--debug",
]


@dataclass(frozen=True)
class Group:
    """Two options."""

    seed: Seed = 3
    json: Json = False


def test_flat_hands_the_fields_over_as_a_group() -> None:
    seen: list[object] = []

    def command(name: str, group: Group) -> None:
        """A first

        second
        third."""
        seen.extend((name, group))

    flattened = flat(command)
    assert list(inspect.signature(flattened).parameters) == ["name", "seed", "json"]
    assert flattened.__doc__ == "A first\n\nsecond third."
    flattened(name="x", seed=5, json=True)
    assert seen == ["x", Group(5, True)]


def test_the_contract_is_whole(cflow) -> None:
    text = cflow("super-resolve", "--help").out
    assert [name for name in CONTRACT if name not in text] == []
    assert RestoreOptions().samples is None
