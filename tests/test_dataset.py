"""Training sees sharp crops that depend on their generator alone, and never the held-out files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cflowtool.dataset import Crops, centres, find, has_blocks, held_out, load_sharp, midpoints
from cflowtool.errors import UsageError


def save(path: Path, height: int = 24, width: int = 32, seed: int = 0, **options: object) -> Path:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(path, **options)
    return path


def crops(*sizes: tuple[int, int], crop: int = 8) -> Crops:
    """Photos whose every value says which photo, row and column it is from."""
    planes = [torch.stack(torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")) for h, w in sizes]
    return Crops([torch.cat((p, torch.full_like(p[:1], i))).to(torch.uint8) for i, p in enumerate(planes)], crop)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_batch_is_its_generators_and_nothing_elses() -> None:
    data = crops((30, 40), (16, 9))
    first = data.batch(6, generator(1))
    torch.manual_seed(99)
    data.batch(3, generator(5))
    assert torch.equal(data.batch(6, generator(1)), first)
    assert not torch.equal(data.batch(6, generator(2)), first)


def test_a_crop_is_a_piece_of_one_photo_perhaps_turned() -> None:
    batch = (crops((30, 40), (16, 9)).batch(64, generator(0)) * 256 - 0.5).round()
    assert batch.shape == (64, 3, 8, 8)
    for piece in batch:
        assert piece[2].unique().numel() == 1
        steps = sorted((piece[:2].diff(dim=d).abs().amax((1, 2)).tolist()) for d in (1, 2))
        assert steps == [[0, 1], [1, 0]]


def test_every_place_turn_and_flip_comes_up() -> None:
    batch = (crops((9, 8)).batch(200, generator(0)) * 256 - 0.5).round()
    corners = {(int(p[0].min()), int(p[0, 0, 0]), int(p[1, 0, 0]), bool(p[0, 0, 0] == p[0, 0, 1])) for p in batch}
    assert {corner[0] for corner in corners} == {0, 1} and len(corners) == 16


def test_photos_are_drawn_in_proportion_to_the_root_of_their_area() -> None:
    batch = crops((40, 40), (10, 10)).batch(2000, generator(0))
    share = (batch[:, 2, 0, 0] < 1 / 256).double().mean().item()
    assert share == pytest.approx(0.8, abs=0.04)


def test_values_are_midpoints() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(midpoints(levels), (torch.arange(256) + 0.5) / 256)


def test_five_percent_are_held_out_by_their_names_alone() -> None:
    names = [f"IMG_{i}.jpg" for i in range(20_000)]
    held = [held_out(Path(name)) for name in names]
    assert sum(held) / len(held) == pytest.approx(0.05, abs=0.006)
    assert held == [held_out(Path("/elsewhere") / name) for name in names]
    assert [name for name, out in zip(names, held, strict=True) if out][:3] == ["IMG_2.jpg", "IMG_52.jpg", "IMG_82.jpg"]


@pytest.mark.parametrize(("options", "shrunk"), [({"quality": 70}, True), ({"quality": 95}, False), ({}, False)])
def test_only_visible_blocks_are_shrunk_away(options: dict[str, int], shrunk: bool, tmp_path: Path) -> None:
    path = save(tmp_path / ("a.jpg" if options else "a.png"), **options)
    image, stored = load_sharp(path), torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)
    assert has_blocks(path) is shrunk and image.dtype == torch.uint8
    assert image.shape == ((3, 12, 16) if shrunk else (3, 24, 32))
    whole = stored if not shrunk else stored.float().unflatten(1, (-1, 2)).unflatten(3, (-1, 2)).mean((2, 4))
    assert (image.float() - whole.float()).abs().max() <= 0.5


@pytest.mark.parametrize("mode", ["L", "I;16", "RGBA"])
def test_other_kinds_of_images_become_three_8_bit_channels(mode: str, tmp_path: Path) -> None:
    values = np.arange(0, 24 * 32, dtype=np.uint16).reshape(24, 32) * 80
    high = (values >> 8).astype(np.uint8)
    picture = Image.fromarray(values) if mode == "I;16" else Image.fromarray(high).convert(mode)
    picture.save(tmp_path / "a.png")
    image = load_sharp(tmp_path / "a.png")
    assert image.shape == (3, 24, 32) and torch.equal(image[1], torch.from_numpy(high))


def test_unreadable_and_small_files_are_passed_over(tmp_path: Path) -> None:
    good = save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(good.read_bytes()[:60])
    (tmp_path / "empty.jpg").touch()
    save(tmp_path / "small.png", 7, 32)
    loaded = Crops.load(find([tmp_path]), 8)
    assert len(loaded.photos) == 1 and torch.equal(loaded.photos[0], load_sharp(good))
    with pytest.raises(UsageError, match="25 pixels"):
        Crops.load(find([tmp_path]), 25)


def test_images_are_found_in_all_folders_by_suffix_in_order(tmp_path: Path) -> None:
    for name in ("b/x.PNG", "b/deep/y.jpeg", "a/z.tif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "notes.txt").touch()
    (tmp_path / "b" / "folder.png").mkdir()
    found = find([tmp_path / "b", tmp_path / "a", tmp_path])
    assert [p.relative_to(tmp_path).as_posix() for p in found] == ["a/z.tif", "b/deep/y.jpeg", "b/x.PNG"]


def test_a_folder_without_images_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no images"):
        find([tmp_path])


def test_centres_are_the_same_central_crops_in_any_order(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{i}.png", seed=i) for i in range(4)] + [save(tmp_path / "small.png", 9, 40)]
    first, again = centres(paths, 10, 3), centres(paths[::-1], 10, 3)
    assert len(first) == 3 and all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    central = [midpoints(load_sharp(path)[None, :, 7:17, 11:21]) for path in paths[:4]]
    assert all(any(torch.equal(crop, one) for one in central) for crop in first)


def test_centres_pass_over_unreadable_files_too(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"not an image")
    assert len(centres([save(tmp_path / "good.png"), tmp_path / "bad.png"], 8, 2)) == 1
