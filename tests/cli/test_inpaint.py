"""cflow inpaint: holes are filled, all else stays to the bit, and a wrong mask is a clear error."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cflowtool import images

Photo = Callable[..., Path]
SIZE = 21, 26


def picture(kind: type[np.generic], channels: int) -> np.ndarray:
    top = np.iinfo(kind).max
    return np.random.default_rng(1).integers(0, top, (*SIZE, channels), endpoint=True).astype(kind)


def hole() -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[5:12, 8:20] = True
    return mask


def write_mask(path: str, mask: np.ndarray) -> None:
    Path(path).parent.mkdir(exist_ok=True)
    images.write(Path(path), images.Picture((255 * mask).astype(np.uint8)[..., None]))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_known_pixels_stay_to_the_bit_and_the_hole_is_filled(restore, kind: type[np.generic], channels: int) -> None:
    given = picture(kind, channels)
    images.write(Path("img.png"), images.Picture(given))
    write_mask("mask.png", hole())
    words = ("inpaint", "img.png", "--mask", "mask.png", "--samples", 3, "--temp", 1, "--mean", "--std")
    assert restore(*words).code == 0
    found = [images.read(Path(f"out/img/{name}.png")).pixels for name in ("01", "02", "03", "mean")]
    for result in found:
        assert result.dtype == kind and np.array_equal(result[~hole()], given[~hole()])
        assert not np.array_equal(result[hole()], given[hole()])
    assert not np.array_equal(found[0], found[1])


def test_what_was_in_the_hole_does_not_matter(restore) -> None:
    given = picture(np.uint8, 3)
    write_mask("mask.png", hole())
    for name, value in (("a", 0), ("b", 255)):
        given[hole()] = value
        images.write(Path(f"{name}.png"), images.Picture(given))
        assert restore("inpaint", f"{name}.png", "--mask", "mask.png").code == 0
    assert np.array_equal(images.read(Path("out/a.png")).pixels, images.read(Path("out/b.png")).pixels)


def test_alpha_is_a_mask_and_the_result_is_opaque(restore) -> None:
    given = picture(np.uint8, 3)
    images.write(Path("img.png"), images.Picture(given, alpha=np.where(hole(), 0, 255).astype(np.uint8)))
    assert restore("inpaint", "img.png", "--mask", "alpha").code == 0
    found = images.read(Path("out/img.png"))
    assert found.alpha is None and np.array_equal(found.pixels[~hole()], given[~hole()])


def test_a_folder_of_masks_serves_a_folder_of_images(restore, photo: Photo) -> None:
    Path("in").mkdir()
    for name in ("a", "b", "c"):
        photo(Path(f"in/{name}.png"), *SIZE)
    write_mask("masks/a.png", hole())
    write_mask("masks/b.png", hole())
    result = restore("inpaint", "in", "--mask", "masks")
    assert result.code == 1 and "c.png" in result.err
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.png", "b.png"]


@pytest.mark.parametrize("name", ["empty", "full", "small"])
def test_a_mask_that_does_not_fit_is_that_inputs_error(restore, photo: Photo, name: str) -> None:
    masks = {"empty": np.zeros(SIZE, bool), "full": np.ones(SIZE, bool), "small": hole()[:-1]}
    photo(Path("img.png"), *SIZE)
    write_mask("mask.png", masks[name])
    result = restore("inpaint", "img.png", "--mask", "mask.png")
    assert result.code == 1 and "mask" in result.err and "try:" in result.err
    assert not Path("out/img.png").exists()


def test_no_mask_no_alpha_and_no_file_are_errors(restore, photo: Photo) -> None:
    photo(Path("img.png"))
    assert restore("inpaint", "img.png").code == 2
    assert restore("inpaint", "img.png", "--mask", "alpha").code == 1
    assert restore("inpaint", "img.png", "--mask", "nowhere.png").code == 1


def test_another_mask_is_another_result(restore, photo: Photo) -> None:
    photo(Path("img.png"), *SIZE)
    write_mask("mask.png", hole())
    again = ("inpaint", "img.png", "--mask", "mask.png", "--skip-existing", "--json")
    assert [restore(*again).objects[0]["status"] for _ in range(2)] == ["done", "skipped"]
    write_mask("mask2.png", hole()[::-1])
    Path("mask2.png").replace("mask.png")
    assert restore(*again).objects[0]["status"] == "failed"
