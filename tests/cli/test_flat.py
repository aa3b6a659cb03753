"""How a dataclass of options becomes a command's."""

import inspect
from dataclasses import dataclass

from cflowtool.cli.flat import flat
from cflowtool.cli.options import Json, Seed


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
