"""The learning rate rises and falls as told, and every step has its own randomness."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cflowtool.recipes import TrainSpec
from cflowtool.schedule import generator_of, learning_rate

SPECS = st.builds(
    TrainSpec,
    steps=st.integers(1, 400),
    warm_up=st.integers(0, 300),
    decay=st.floats(0, 1),
    learning_rate=st.just(0.1),
)


@given(SPECS)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_rate_rises_then_falls_between_zero_and_its_most(spec: TrainSpec) -> None:
    rates = [learning_rate(spec, step, step / spec.steps) for step in range(spec.steps)]
    assert all(0 < rate <= 0.1 for rate in rates)
    if spec.warm_up <= (1 - spec.decay) * spec.steps:
        changes = np.sign(np.diff(rates).round(12))
        assert list(changes) == sorted(changes, reverse=True)


def test_the_ends_of_the_rate_are_a_small_step_and_none() -> None:
    spec = TrainSpec(steps=1000, warm_up=100, decay=0.5, learning_rate=0.1)
    rates = [learning_rate(spec, step, step / 1000) for step in range(1000)]
    assert rates[0] == pytest.approx(0.001) and rates[99] == rates[499] == 0.1
    assert rates[750] == pytest.approx(0.05) and rates[999] < 1e-5 and learning_rate(spec, 1000, 1.0) == 0
    stepped = TrainSpec(steps=99, warm_up=0, decay=0.0, learning_rate=1.0, gamma=0.5, gamma_every=3, drop_at=6)
    rates = [learning_rate(stepped, step, step / 99) for step in range(9)]
    assert rates == pytest.approx([1, 1, 1, 0.5, 0.5, 0.5, 0.025, 0.025, 0.025])
    flat = TrainSpec(steps=9, warm_up=0, decay=0.0, learning_rate=0.1)
    assert {learning_rate(flat, step, step / 9) for step in range(9)} == {0.1}


def test_every_step_of_every_seed_has_randomness_of_its_own() -> None:
    draws = [torch.rand(4, generator=generator_of(seed, step)) for seed in (0, 1, 7) for step in (0, 1, 2)]
    assert torch.stack(draws).unique(dim=0).shape[0] == 9
    assert torch.equal(torch.rand(4, generator=generator_of(7, 2)), draws[-1])
