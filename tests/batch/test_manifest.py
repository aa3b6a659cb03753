"""The key of a result, and in what order its samples are told of."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cflowtool import images, weights
from cflowtool.batch import Estimate, Job, Outputs, Plan
from cflowtool.batch.manifest import caption, described, kept, key_of, text_of
from cflowtool.canvas import Restoration, Settings
from cflowtool.restorer import Restorer

PLAN = Plan(Settings(samples=3, temperature=0.8), Outputs(Path("out"), many=True))
PICTURE = images.Picture(np.zeros((2, 3, 3), np.uint8))


@pytest.fixture
def restorer(tiny_weight: Path) -> Restorer:
    """The tiny weight at work."""
    return Restorer(weights.load(tiny_weight), device="cpu")


def restoration(log_prob: list[float] | None) -> Restoration:
    """Return three samples of the scores."""
    return Restoration([PICTURE] * 3, [4, 5, 6], log_prob, log_prob, [1.0, 3.0, 2.0], False)


def test_whatever_pixels_depend_on_changes_the_key_and_where_they_go_does_not(restorer: Restorer) -> None:
    changes = [
        *({"settings": replace(PLAN.settings, **{name: 2})} for name in ("samples", "temperature", "seed", "start")),
        {"outputs": replace(PLAN.outputs, suffix=".jpg")},
        *({"keep": 2}, {"order": "consistency"}, {"maps": ("std",)}, {"options": {"sigma": 25.0}}),
        *({"estimate": Estimate(0.5)}, {"estimate": Estimate(0.4)}, {"deterministic": True}),
    ]
    keys = [key_of("digest", restorer, replace(PLAN, **change)) for change in changes]
    keys += [key_of("digest", restorer, PLAN), key_of("other", restorer, PLAN)]
    for name, value in (("precision", "bf16"), ("tile", "64"), ("sha256", "0" * 64)):
        setattr(restorer, name, value)
        keys.append(key_of("digest", restorer, PLAN))
    assert len(set(keys)) == len(keys)
    moved = replace(PLAN, outputs=Outputs(Path("elsewhere"), many=True, skip_existing=True))
    assert key_of("digest", restorer, moved) == keys[-1]


@pytest.mark.parametrize(
    ("order", "log_prob", "expected"),
    [
        (None, [1.0, 2.0, 3.0], [2, 1, 0]),
        ("likelihood", [1.0, 2.0, 3.0], [2, 1, 0]),
        ("consistency", [1.0, 2.0, 3.0], [1, 2, 0]),
        ("drawn", [1.0, 2.0, 3.0], [0, 1, 2]),
        (None, None, [0, 1, 2]),
    ],
)
def test_samples_are_in_the_order_that_was_asked_for(
    restorer: Restorer, order: str | None, log_prob: list[float] | None, expected: list[int]
) -> None:
    plan, found = replace(PLAN, order=order), restoration(log_prob)
    assert kept(found, plan) == expected and kept(found, replace(plan, keep=2)) == expected[:2]
    about = described(Job(Path("a.png"), Path("a")), "0" * 64, PICTURE, restorer, found, plan)
    assert [sample["index"] for sample in about["samples"]] == [4 + at for at in expected]
    assert (
        text_of(about, "key")["cflow:order_by"]
        == about["order_by"]
        == (order or ("likelihood" if log_prob else "drawn"))
    )


def test_what_is_not_finite_is_not_known(restorer: Restorer) -> None:
    found = restoration([float("nan"), float("inf"), 1.0])
    about = described(Job(None, Path("stdin")), "0" * 64, PICTURE, restorer, found, PLAN)
    by_index = {sample["index"]: sample["log_prob"] for sample in about["samples"]}
    assert by_index == {4: None, 5: None, 6: 1.0} and about["input"]["name"] == "stdin"


def test_a_caption_gives_the_score_of_the_order() -> None:
    sample = {"index": 3, "rank": 1, "bits_per_dim": 2.5, "consistency_db": 40.0}
    assert caption(sample, "likelihood") == "1: 2.500 bits/dim" and "40.000 dB" in caption(sample, "consistency")
    assert caption({**sample, "rank": None, "bits_per_dim": None}, "drawn") == "sample 3"
    assert caption({**sample, "estimate": "mean of 4"}, "drawn") == "mean of 4"
