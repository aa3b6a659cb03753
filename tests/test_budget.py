"""A model is built as far as what is stored allows, and no further."""

import tracemalloc

import pytest
import torch
from torch import nn

from cflowtool import budget, recipes


@pytest.mark.parametrize(
    "config",
    [{"a": 10**9}, {"a": -(10**9)}, {"a": 10**400}, [1e300], [float("nan")], [float("inf")], {"a": "x" * 201},
     {"x" * 201: 1}, [0] * 1001, {"a": {"b": [[[10**9]]]}}, [None, 10**9]],
)  # fmt: skip
def test_numbers_without_use_are_refused(config: object) -> None:
    with pytest.raises(ValueError, match="config"):
        budget.check_numbers(config)


def endless() -> None:
    nn.Sequential(*(nn.Linear(1, 1) for _ in range(10**6)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Linear(65536, 65536),
        lambda: nn.Conv2d(4096, 4096, 3),
        lambda: torch.eye(20_000),
        lambda: torch.randn((65536, 65536)),
        lambda: torch.zeros(size=(65536, 65536)),
        lambda: torch.full((65536, 65536), 0.0),
        endless,
        lambda: nn.Sequential(*[nn.Identity()] * 2000),
    ],
)
def test_what_is_larger_than_its_file_is_not_built(make: object) -> None:
    tracemalloc.start()
    with pytest.raises(ValueError, match="larger"), budget.limited(10, 1000):
        make()  # type: ignore[operator]
    assert tracemalloc.get_traced_memory()[1] < 100 * 2**20
    tracemalloc.stop()


@pytest.mark.parametrize("name", ["denoise-cnf", "colorize-caflow", "super-resolve-tim-x2", "segment-vessels-cnf"])
def test_a_model_is_built_within_its_own_size_and_the_same(name: str) -> None:
    recipe = recipes.load(name)
    torch.manual_seed(1)
    own = recipes.build(recipe).state_dict()
    torch.manual_seed(1)
    with budget.limited(len(own), sum(value.numel() for value in own.values())):
        again = recipes.build(recipe).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in own.items()) and own.keys() == again.keys()


def test_nothing_is_limited_afterwards() -> None:
    with pytest.raises(ValueError, match="larger"), budget.limited(0, 0):
        endless()
    assert len(nn.Sequential(*(nn.Linear(1, 1) for _ in range(2000)))) == 2000
    assert torch.zeros(2**21).numel() == 2**21
