"""cflow evaluate."""

from collections.abc import Callable
from pathlib import Path


def test_figures_as_json_and_as_tables(cflow, photo: Callable[..., Path], tiny_weight: Path) -> None:
    Path("truth").mkdir()
    for name in "ab":
        photo(Path("truth", f"{name}.png"), 32, 40, seed=ord(name))
    command = ["evaluate", "super-resolve", "--data", "truth", "--model", tiny_weight, "--samples", 2]
    result = cflow(*command, "--limit", 1, "--json")
    [found] = result.objects
    assert (result.code, result.err, found["images"]) == (0, "", 1)
    assert {"temp0", "best", "mean", "bicubic"} <= found["results"].keys()
    assert found["results"]["bicubic"].keys() >= {"psnr", "ssim"}
    table = cflow(*command)
    assert (table.code, table.out) == (0, "")
    assert "2 images" in table.err and "bicubic" in table.err and "bits_per_dim" in table.err


def test_a_folder_without_images(cflow, tiny_weight: Path) -> None:
    result = cflow("evaluate", "super-resolve", "--data", "nowhere", "--model", tiny_weight)
    assert (result.code, len(result.err.splitlines())) == (2, 2)
