"""Training sees sharp crops that depend on their generator alone, and never the held-out files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from cflowtool.dataset import (
    Crops,
    as_truth,
    centres,
    distorted,
    find,
    has_blocks,
    held_out,
    load,
    load_sharp,
    mask_file,
    midpoints,
    padded,
)
from cflowtool.errors import UsageError
from cflowtool.tasks import Segment, SegmentVessels


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
    first, again = centres(paths, (10, 10), 3), centres(paths[::-1], (10, 10), 3)
    assert len(first) == 3 and all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    central = [midpoints(load_sharp(path)[None, :, 7:17, 11:21]) for path in paths[:4]]
    assert all(any(torch.equal(crop, one) for one in central) for crop in first)


def test_centres_pass_over_unreadable_files_too(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"not an image")
    assert len(centres([save(tmp_path / "good.png"), tmp_path / "bad.png"], (8, 8), 2)) == 1


def save_mask(path: Path, height: int = 24, width: int = 32, value: int = 255) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows, columns = np.mgrid[0:height, 0:width]
    Image.fromarray(((rows > columns) * value).astype(np.uint8)).save(path)
    return path


def save_pair(folder: Path, name: str = "horse1", **options: object) -> Path:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    save_mask(folder / "masks" / f"{name}.png")
    return save(folder / "images" / f"{name}.jpg", **options)


def fundi(side: int, count: int) -> list[Tensor]:
    """Photographs of (row, column, 0) with a square of vessels inside a larger field of view."""
    axis = torch.arange(side)
    planes = torch.stack(torch.meshgrid(axis, axis, indexing="ij"))
    squares = [(planes - side // 2).abs().amax(0) <= half for half in (side // 4, side // 3)]
    photo = torch.cat((planes, torch.zeros(1, side, side), 255 * torch.stack(squares)))
    return [photo.to(torch.uint8)] * count


@pytest.mark.parametrize(
    ("photo", "mask"),
    [
        ("images/21.png", "manual1/21.png"),
        ("images/21_training.tif", "1st_manual/21_manual1.gif"),
        ("images/01_dr.JPG", "manual1/01_dr.tif"),
        ("images/Image_01L.jpg", "manual1/Image_01L_1stHO.png"),
        ("21.png", "manual/21.png"),
    ],
)
def test_a_mask_is_found_by_the_number_it_shares_with_its_photograph(photo: str, mask: str, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    wanted = save_mask(tmp_path / mask)
    for other in ("1", "210", "x21"):
        save_mask(wanted.parent / f"{other}.png")
    assert mask_file(save(tmp_path / photo), ("manual1", "1st_manual", "manual")) == wanted
    assert find([tmp_path]) == [tmp_path / photo]


def test_masks_are_no_photographs_unless_their_own_folder_is_given(tmp_path: Path) -> None:
    photo = save_pair(tmp_path)
    assert find([tmp_path]) == [photo] == find([tmp_path / "images"])
    assert find([tmp_path / "masks"]) == [tmp_path / "masks" / "horse1.png"]


@pytest.mark.parametrize("value", [200, 255])
def test_a_pair_is_read_unshrunk_with_a_binary_mask(value: int, tmp_path: Path) -> None:
    path = save_pair(tmp_path, quality=50)
    save_mask(tmp_path / "masks" / "horse1.png", value=value)
    both = load(path, Segment())
    assert has_blocks(path) and both.shape == (4, 24, 32) and both.dtype == torch.uint8
    assert torch.equal(both[:3], torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1))
    rows, columns = np.mgrid[0:24, 0:32]
    assert torch.equal(both[3] == 255, torch.from_numpy(rows > columns)) and both[3].unique().tolist() == [0, 255]


def test_a_photograph_without_its_mask_or_with_one_of_another_size_is_a_usage_error(tmp_path: Path) -> None:
    path = save_pair(tmp_path)
    with pytest.raises(UsageError, match="no mask for") as caught:
        load(path, SegmentVessels())
    assert "manual1/" in caught.value.hint
    save_mask(tmp_path / "masks" / "horse1.png", 24, 31)
    with pytest.raises(UsageError, match="size of its photograph"):
        Crops.load(find([tmp_path]), 8, Segment())


def test_a_truth_is_a_photograph_at_midpoints_and_masks_of_0_and_1() -> None:
    photo = torch.randint(0, 256, (2, 5, 4, 4), dtype=torch.uint8, generator=generator(0))
    truth = as_truth(photo)
    assert torch.equal(truth[:, :3], midpoints(photo[:, :3])) and torch.equal(
        truth[:, 3:], (photo[:, 3:] > 127).float()
    )
    assert torch.equal(as_truth(photo[:, :3]), midpoints(photo[:, :3]))


def test_crops_and_flips_are_those_of_all_channels() -> None:
    side = 31
    batch = Crops(fundi(side, 2), 9, SegmentVessels()).batch(40, generator(0))
    rows, columns = ((256 * batch[:, k] - 0.5 - side // 2).round().abs() for k in (0, 1))
    for channel, half in ((3, side // 4), (4, side // 3)):
        assert torch.equal(batch[:, channel] == 1, torch.maximum(rows, columns) <= half)
    assert set(batch[:, 3:].unique().tolist()) == {0, 1}


def test_distorted_crops_are_their_generators_and_keep_masks_on_their_photograph() -> None:
    data = Crops(fundi(41, 1), 16, SegmentVessels(augment=True))
    first = data.batch(8, generator(1))
    assert torch.equal(data.batch(8, generator(1)), first) and not torch.equal(data.batch(8, generator(2)), first)
    assert set(first[:, 3:].unique().tolist()) <= {0, 1}
    rows, columns = ((256 * first[:, k] - 0.5 - 20).abs() for k in (0, 1))
    distance = torch.maximum(rows, columns)
    assert (first[:, 3][distance < 9] == 1).all() and (first[:, 3][distance > 11.5] == 0).all()


def test_no_distortion_is_a_crop_and_a_half_turn_a_turned_one() -> None:
    photo, one = fundi(21, 1)[0], torch.eye(2, dtype=torch.float64)
    plain = photo[:, 3:14, 5:16]
    assert torch.equal(distorted(photo, 3, 5, 11, one), plain)
    assert torch.equal(distorted(photo, 3, 5, 11, -one), plain.flip(1, 2))
    assert torch.equal(distorted(photo, 3, 5, 11, one.flip(0)), plain.transpose(1, 2))


def test_beyond_the_photograph_there_is_black() -> None:
    photo = torch.full((5, 9, 9), 255, dtype=torch.uint8)
    small = distorted(photo, 0, 0, 9, 2 * torch.eye(2, dtype=torch.float64))
    assert (small[:, 2:7, 2:7] == 255).all() and (small[:, 0] == 0).all() and (small[:, :, -1] == 0).all()


def test_photographs_of_a_task_for_whole_ones_are_set_in_black(tmp_path: Path) -> None:
    photo = torch.full((3, 4, 7), 9, dtype=torch.uint8)
    large = padded(photo, 8, 6)
    assert large.shape == (3, 8, 7) and torch.equal(large[:, 2:6], photo) and large.sum() == photo.sum()
    save_pair(tmp_path)
    for folder in ("manual1", "fov"):
        save_mask(tmp_path / folder / "horse1.png")
    whole = Crops.load(find([tmp_path]), 40, SegmentVessels())
    assert whole.photos[0].shape[1] >= 40 and whole.photos[0].shape[2] >= 40
    with pytest.raises(UsageError, match="40 pixels"):
        Crops.load(find([tmp_path]), 40, Segment())


def test_centres_may_be_whole_and_need_not_be_square(tmp_path: Path) -> None:
    path = save_pair(tmp_path)
    [whole] = centres([path], None, 3, Segment())
    assert whole.shape == (1, 4, 24, 32)
    [part] = centres([path], (10, 20), 3, Segment())
    assert torch.equal(part, whole[..., 7:17, 6:26]) and not centres([path], (25, 20), 3, Segment())


def test_a_larger_share_holds_out_what_a_smaller_one_does_and_more() -> None:
    names = [Path(f"{i}.png") for i in range(4000)]
    small, large = ({name for name in names if held_out(name, share)} for share in (0.05, 0.15))
    assert small < large and len(large) / len(names) == pytest.approx(0.15, abs=0.02)
    assert small == {name for name in names if held_out(name)}


def test_crops_are_mirrored_and_transposed_only_where_that_is_wanted() -> None:
    photo = torch.arange(3 * 8 * 8, dtype=torch.uint8).view(3, 8, 8)
    for flips in (True, False):
        batch = Crops([photo], 8, flips=flips).batch(32, torch.Generator().manual_seed(0))
        assert (len(batch.unique(dim=0)) == 1) != flips
