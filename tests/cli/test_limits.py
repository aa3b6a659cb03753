"""Limits are options: what is beyond them is refused in one line, and raising them lets it in."""

from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("limit", "beyond", "said"),
    [("--max-megapixels", 0.0012, "megapixels"), ("--max-side", 39, "a side"), ("--max-mebibytes", 0.0001, "MiB")],
)
def test_inputs_and_results_beyond_a_limit_are_refused(
    upscale: Any, photo: Any, tmp_path: Path, limit: str, beyond: float, said: str
) -> None:
    photo(tmp_path / "img.png", 16, 20)  # 320 pixels, 1280 when twice as large
    refused = upscale("img.png", "--quiet", limit, beyond)
    assert refused.code == 1 and said in refused.err and "Traceback" not in refused.err
    assert not (tmp_path / "out" / "img.png").exists()
    assert upscale("img.png", "--quiet", "--max-megapixels", 0.00128, "--max-side", 40, "--max-mebibytes", 1).code == 0
