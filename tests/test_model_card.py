"""The README of a pushed weight says what the card says, in a form that hubs can read."""

from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from cflowtool import weights
from cflowtool.model_card import render
from cflowtool.weights import DataSet, WeightCard


@pytest.fixture
def card(tiny_weight: Path) -> WeightCard:
    return weights.read_card(tiny_weight)


def headings(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("#")]


def test_hubs_can_read_the_metadata(card: WeightCard) -> None:
    data = ModelCard(render(card, "org/tiny"), ignore_metadata_errors=False).data
    assert (data.library_name, data.pipeline_tag) == ("cflowtool", "image-to-image")
    assert {"super-resolve", "cnf"} <= set(data.tags)


def test_what_the_card_says_is_said(card: WeightCard) -> None:
    found = {"set5": {"results": {"temp0": {"psnr": 37.351, "name": "x"}, "odd": 3}}, "odd": 4}
    told = {"results": found, "notes": ["a failure case"], "command": "cflow train x", "steps": 13000}
    full = card.model_copy(update={**told, "data": [DataSet(name="photos", images=7, terms="free")]})
    text = render(full, "org/tiny")
    for words in ("set5 | temp0 | psnr 37.35 |", "a failure case", "cflow train x", "13,000 steps", "7 images", "free"):
        assert words in text
    assert "--model org/tiny -o out" in text and card.tensors_sha256 in text


def test_what_is_empty_is_left_out(card: WeightCard) -> None:
    text = render(card, "org/tiny")
    assert headings(text) == ["# tiny", "## Training"]


def test_a_card_cannot_write_markup(card: WeightCard) -> None:
    hostile = "line\n# heading <script> | cell `code`"
    text = render(card.model_copy(update={"notes": [hostile]}), "org/tiny")
    assert headings(text) == ["# tiny", "## Training", "## Notes"] and "<script>" not in text
