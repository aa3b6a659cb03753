"""What a run says of itself."""

import json
from pathlib import Path

import numpy as np
import pytest

from cflowtool import images
from cflowtool.errors import OutputError
from cflowtool.journal import Journal


def test_lines_are_kept_in_order_over_several_runs(tmp_path: Path) -> None:
    for step in range(3):
        Journal(tmp_path / "run").line(event="train", step=step)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"event": "train", "step": step} for step in range(3)]


def test_a_sheet_is_a_picture_named_by_its_step(tmp_path: Path) -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    for _ in range(2):
        Journal(tmp_path).sheet(70, images.Picture(pixels))
    [path] = (tmp_path / "sheets").iterdir()
    assert path.name == "step-000070.png" and np.array_equal(images.read(path).pixels, pixels)


def test_a_folder_that_cannot_be_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        Journal(tmp_path / "file").line(step=1)
