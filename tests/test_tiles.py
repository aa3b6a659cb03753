"""The laws of cutting and pasting, over many random sizes."""

import random

import pytest
import torch

from cflowtool.tiles import Box, Tile, crop, mirror_to, pad_to_multiple, paste, plan, plan_fixed

RANDOM = random.Random(0)


def sizes() -> tuple[int, int, int, int, int]:
    multiple, margin = RANDOM.randint(1, 8), RANDOM.randint(0, 12)
    tile = 2 * -(-margin // multiple) * multiple + multiple + RANDOM.randint(0, 30)
    height, width = (multiple * RANDOM.randint(1, 25) for _ in range(2))
    return height, width, tile, margin, multiple


CASES = [sizes() for _ in range(200)]


@pytest.mark.parametrize("case", [CASES])
def test_cores_partition_and_outers_obey(case: list[tuple[int, int, int, int, int]]) -> None:
    for height, width, tile, margin, multiple in case:
        count = torch.zeros(height, width, dtype=torch.int)
        grown = -(-margin // multiple) * multiple
        for piece in plan(height, width, tile, margin, multiple):
            outer, core = piece.outer, piece.core
            crop(count, core).add_(1)
            assert core.height > 0 and core.width > 0 and max(outer.height, outer.width) <= tile
            assert all(edge % multiple == 0 for box in (outer, core) for edge in vars(box).values())
            one_tile_high, one_tile_wide = outer.height == height, outer.width == width
            assert outer.top == max(core.top - grown, 0) or one_tile_high
            assert outer.top + outer.height == min(core.top + core.height + grown, height) or one_tile_high
            assert outer.left == max(core.left - grown, 0) or one_tile_wide
            assert outer.left + outer.width == min(core.left + core.width + grown, width) or one_tile_wide
        assert (count == 1).all()


def test_crop_then_paste_is_the_identity_at_any_scale() -> None:
    for height, width, tile, margin, multiple in CASES[:60]:
        image = torch.rand(2, 3 * height, 3 * width)
        target = torch.full_like(image, torch.nan)
        for piece in (t.scaled(3) for t in plan(height, width, tile, margin, multiple)):
            paste(target, crop(image, piece.outer), piece)
        assert torch.equal(target, image)


def test_outers_are_of_nearly_one_size() -> None:
    heights = {t.outer.height for t in plan(1000, 8, 128, 16, 8)}
    assert max(heights) - min(heights) <= 8


def test_what_fits_is_one_tile() -> None:
    assert plan(64, 48, 64, 40, 8) == [Tile(Box(0, 0, 64, 48), Box(0, 0, 64, 48))]


@pytest.mark.parametrize("case", [(64, 64, 39, 16, 8), (65, 64, 40, 16, 8), (0, 64, 40, 16, 8), (64, 64, 40, -1, 8)])
def test_impossible_plans_are_refused(case: tuple[int, int, int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"pixels a side|multiples|negative"):
        plan(*case)


def test_a_piece_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(ValueError, match="does not cover"):
        paste(torch.zeros(8, 8), torch.zeros(4, 4), Tile(Box(0, 0, 5, 5), Box(0, 0, 4, 4)))


def test_padding_repeats_the_last_row_and_column() -> None:
    for height, width, multiple in [(1, 1, 8), (7, 9, 4), (8, 16, 8), (5, 1, 3)]:
        image = torch.rand(2, 3, height, width)
        padded = pad_to_multiple(image, multiple)
        rows, columns = padded.shape[-2:]
        assert rows % multiple == columns % multiple == 0 and rows - height < multiple and columns - width < multiple
        assert torch.equal(padded[..., :height, :width], image)
        assert (padded[..., height:, :] == padded[..., height - 1 : height, :]).all()
        assert (padded[..., width:] == padded[..., width - 1 : width]).all()


def fixed_case() -> tuple[int, int, tuple[int, int], int, int]:
    multiple, margin = RANDOM.randint(1, 8), RANDOM.randint(0, 12)
    least = 2 * -(-margin // multiple) + 1
    size = (multiple * RANDOM.randint(least, least + 6), multiple * RANDOM.randint(least, least + 6))
    height, width = (side + multiple * RANDOM.choice([0, 0, RANDOM.randint(0, 30)]) for side in size)
    return height, width, size, margin, multiple


def test_tiles_of_one_size_have_it_and_their_cores_partition_the_image() -> None:
    for height, width, size, margin, multiple in (fixed_case() for _ in range(200)):
        count = torch.zeros(height, width, dtype=torch.int)
        for piece in plan_fixed(height, width, size, margin, multiple):
            outer, core = piece.outer, piece.core
            crop(count, core).add_(1)
            assert (outer.height, outer.width) == size and core.height > 0 and core.width > 0
            assert all(edge % multiple == 0 for box in (outer, core) for edge in vars(box).values())
            inside = core.relative_to(outer)
            for first, last, whole, at, end in (
                (inside.top, size[0] - inside.top - inside.height, height, outer.top, outer.top + size[0]),
                (inside.left, size[1] - inside.left - inside.width, width, outer.left, outer.left + size[1]),
            ):
                assert at >= 0 and end <= whole
                assert (first >= margin if at else first == 0) and (last >= margin if end < whole else last == 0)
        assert (count == 1).all()


def test_an_image_of_the_one_size_is_one_tile_and_no_tile_is_too_many() -> None:
    assert plan_fixed(32, 64, (32, 64), 8, 4) == [Tile(Box(0, 0, 32, 64), Box(0, 0, 32, 64))]
    assert len(plan_fixed(32 + 16, 32, (32, 32), 8, 4)) == 2 and len(plan_fixed(32 + 20, 32, (32, 32), 8, 4)) == 3


@pytest.mark.parametrize(
    "case",
    [(28, 64, (32, 32), 4, 4), (64, 64, (32, 32), 16, 4), (64, 66, (32, 32), 4, 4), (64, 64, (32, 30), 4, 4),
     (64, 64, (0, 32), 4, 4), (64, 64, (32, 32), -1, 4)],
)  # fmt: skip
def test_impossible_plans_of_one_size_are_refused(case: tuple[int, int, tuple[int, int], int, int]) -> None:
    with pytest.raises(ValueError, match=r"multiples|margins|negative"):
        plan_fixed(*case)


def test_a_small_image_is_continued_by_its_mirror_image_as_often_as_needed() -> None:
    row = mirror_to(torch.tensor([[[1, 2, 3]]]), (2, 11))
    assert row.tolist() == [[[1, 2, 3, 3, 2, 1, 1, 2, 3, 3, 2]] * 2]
    image = torch.rand(2, 3, 7, 9)
    large = mirror_to(image, (14, 4))
    assert large.shape == (2, 3, 14, 9) and torch.equal(large[..., :7, :], image)
    assert torch.equal(large[..., 7:, :], image.flip(-2))
    assert mirror_to(image, (7, 9)) is image and mirror_to(image, (1, 1)) is image


def blended(values: torch.Tensor, tiles: list[Tile], offsets: torch.Tensor) -> torch.Tensor:
    found = torch.full_like(values, torch.nan)
    for tile, offset in zip(tiles, offsets, strict=True):
        part, new, weights = crop(found, tile.shown), crop(values, tile.shown) + offset, tile.weights()
        part.copy_(new if weights is None else torch.where(weights < 1, part + weights * (new - part), new))
    return found


def test_blending_covers_the_image_and_leaves_what_tiles_agree_on() -> None:
    for height, width, tile, margin, multiple in CASES[:80]:
        image, tiles = torch.rand(height, width).double(), plan(height, width, tile, margin, multiple, margin)
        for piece in tiles:
            rows, columns = piece.shown.slices
            assert piece.outer.top <= rows.start <= piece.core.top and piece.outer.left <= columns.start
        assert torch.allclose(blended(image, tiles, torch.zeros(len(tiles))), image, atol=1e-12)


def test_where_tiles_differ_blending_leaves_no_step() -> None:
    tiles = plan(96, 96, 48, 12, 2, 6)
    offsets = torch.tensor([float(k % 2) for k in range(len(tiles))]).double()
    flat = torch.zeros(96, 96).double()
    hard = blended(flat, [Tile(t.outer, t.core) for t in tiles], offsets)
    soft = blended(flat, tiles, offsets)
    steps = [max(float(t.diff(dim=0).abs().max()), float(t.diff(dim=1).abs().max())) for t in (hard, soft)]
    assert steps[0] == 1 and steps[1] < 0.3 and (soft.min(), soft.max()) == (0, 1)
