"""The restorer: the laws of sampling, whole and in tiles."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cflowtool import images, weights
from cflowtool.canvas import Settings
from cflowtool.errors import CflowError, InputError, UsageError
from cflowtool.flows.transform import Region, counted
from cflowtool.metrics.likelihood import bits_per_dim
from cflowtool.models import CAFLOW, CGlow, Draws
from cflowtool.models.caflow import CAFLOWConfig
from cflowtool.models.cglow import CGlowConfig
from cflowtool.prefetch import one_ahead
from cflowtool.restorer import Begun, Restorer

Photo = Callable[..., Path]


@pytest.fixture
def restorer(tiny_weight: Path) -> Restorer:
    return Restorer(weights.load(tiny_weight), device="cpu")


@pytest.fixture
def picture(photo: Photo, tmp_path: Path) -> images.Picture:
    return images.read(photo(tmp_path / "x.png", height=22, width=38))


def test_a_sample_alone_equals_itself_among_ten(restorer: Restorer, picture: images.Picture) -> None:
    ten = restorer.restore(picture, Settings(10, 0.8, 3))
    alone = restorer.restore(picture, Settings(1, 0.8, 3, start=7))
    assert ten.log_prob is not None and alone.log_prob is not None
    assert np.array_equal(ten.pictures[7].pixels, alone.pictures[0].pixels)
    assert ten.log_prob[7] == pytest.approx(alone.log_prob[0], rel=1e-6)


def test_order_follows_log_prob_and_samples_differ(restorer: Restorer, picture: images.Picture) -> None:
    drawn = restorer.restore(picture, Settings(6, 0.8, 0))
    assert drawn.log_prob is not None
    assert [drawn.log_prob[i] for i in drawn.order] == sorted(drawn.log_prob, reverse=True)
    assert len({p.pixels.tobytes() for p in drawn.pictures}) == 6


def test_the_image_is_encoded_once_whatever_the_number_of_samples(
    restorer: Restorer, picture: images.Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    encode = restorer.model.encode
    monkeypatch.setattr(restorer.model, "encode", lambda x: calls.append(1) or encode(x))
    restorer.restore(picture, Settings(5, 0.8, 0))
    assert len(calls) == 1


def test_tiles_with_the_receptive_field_as_margin_give_the_whole_image(
    tiny_weight: Path, photo: Photo, tmp_path: Path
) -> None:
    loaded = weights.load(tiny_weight)
    picture = images.read(photo(tmp_path / "x.png", height=40, width=70))
    whole = Restorer(loaded, device="cpu", tile="off").restore(picture, Settings(2, 0.9, 1, mean=True, std=True))
    tiled = Restorer(loaded, device="cpu", tile="56").restore(picture, Settings(2, 0.9, 1, mean=True, std=True))
    assert tiled.tiled and not whole.tiled
    assert whole.log_prob is not None and tiled.log_prob is not None
    assert tiled.log_prob == pytest.approx(whole.log_prob, rel=1e-6)
    for one, other in zip(whole.pictures, tiled.pictures, strict=True):
        assert np.abs(one.pixels.astype(int) - other.pixels).max() <= 1
    assert whole.std is not None and tiled.std is not None
    assert np.allclose(whole.std, tiled.std, atol=1e-5)
    assert whole.consistency == pytest.approx(tiled.consistency, abs=0.01)


def test_a_tile_without_room_for_its_margins_is_a_usage_error(tiny_weight: Path, picture: images.Picture) -> None:
    with pytest.raises(UsageError):
        Restorer(weights.load(tiny_weight), device="cpu", tile="4").restore(picture, Settings())


@pytest.mark.parametrize("task", ["super-resolve", "denoise", "colorize"])
def test_mean_and_spread_are_those_of_the_samples(
    task: str, restorer: Restorer, small_weights: dict[str, Path], picture: images.Picture
) -> None:
    if task in small_weights:
        restorer = Restorer(weights.load(small_weights[task]), "cpu")
    drawn = restorer.restore(picture, Settings(40, 1.0, 0, mean=True, std=True))
    stack = np.stack([p.pixels for p in drawn.pictures]).astype(float)
    assert drawn.mean is not None and drawn.std is not None
    assert np.abs(stack.mean(0) - drawn.mean.pixels).max() < 1.1
    spread = np.sqrt(stack.var(0, ddof=1).mean(2)) / 256
    assert np.abs(spread - drawn.std).max() < 1 / 256


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 3), (33, 2)])
def test_every_size_comes_out_at_the_scale(
    restorer: Restorer, photo: Photo, tmp_path: Path, size: tuple[int, int]
) -> None:
    drawn = restorer.restore(images.read(photo(tmp_path / "x.png", height=size[0], width=size[1])), Settings(2, 0.8, 0))
    assert all(p.size == (2 * size[0], 2 * size[1]) for p in drawn.pictures)


def test_grey_stays_grey_and_sixteen_bits_stay_sixteen(restorer: Restorer) -> None:
    grey = images.Picture(np.arange(0, 64000, 1000, dtype=np.uint16).reshape(8, 8, 1))
    drawn = restorer.restore(grey, Settings(1, 0.5, 0)).pictures[0]
    assert drawn.grey and drawn.bits == 16 and len(np.unique(drawn.pixels)) > 64


def test_a_scored_sample_of_sixteen_bits_has_the_log_prob_it_was_drawn_with(restorer: Restorer) -> None:
    levels = np.random.default_rng(0).integers(12000, 50000, (8, 8, 3)).astype(np.uint16)
    drawn = restorer.restore(images.Picture(levels), Settings(3, 0.7, 0))
    scores = restorer.score(images.Picture(levels), drawn.pictures)
    assert drawn.log_prob is not None
    assert [s.log_prob for s in scores] == pytest.approx(drawn.log_prob, rel=1e-3)


def test_a_candidate_of_another_size_is_refused(restorer: Restorer, picture: images.Picture) -> None:
    with pytest.raises(InputError):
        restorer.score(picture, [picture])


def test_draws_give_a_mean_with_a_standard_error(restorer: Restorer, picture: images.Picture) -> None:
    candidate = restorer.restore(picture, Settings(1, 0.0, 0)).pictures
    middle, averaged = restorer.score(picture, candidate)[0], restorer.score(picture, candidate, draws=8)[0]
    assert middle.standard_error == 0 < averaged.standard_error
    assert averaged.log_prob < middle.log_prob


def test_a_sample_that_is_not_finite_is_drawn_once_more_and_then_reported(
    restorer: Restorer, picture: images.Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = restorer.model.decode
    broken = [1]

    def failing(*given: object) -> Draws:
        draws = decode(*given)  # type: ignore[arg-type]
        if broken and broken.pop():
            draws.y[0, 0, :, 0, 0] = torch.nan
        return draws

    monkeypatch.setattr(restorer.model, "decode", failing)
    drawn = restorer.restore(picture, Settings(2, 0.8, 0))
    assert len(drawn.pictures) == 2 and "[0]" in drawn.notes[0]
    broken.extend([1] * 4)
    with pytest.raises(CflowError):
        restorer.restore(picture, Settings(2, 0.8, 0))


FIXED = {"scale": 2, "levels": 2, "steps": 1, "width": 8, "conditioning_channels": 4, "conditioning_width": 8,
         "coupling_channels": 4, "size": (16, 16), "shift": "bicubic"}  # fmt: skip


@pytest.fixture
def of_one_size(tiny_weight: Path) -> Restorer:
    """A restorer whose model takes an x of 16 x 16 pixels and nothing else."""
    loaded = weights.load(tiny_weight)
    torch.manual_seed(0)
    model = CGlow(CGlowConfig(**FIXED)).eval().requires_grad_(False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
        model.actnorm.log_scale.add_(3.0)
    return Restorer(replace(loaded, model=model), device="cpu")


@pytest.mark.parametrize("size", [(16, 16), (3, 5), (1, 40), (16, 17), (22, 38)])
def test_a_model_of_one_size_restores_pictures_of_any(
    of_one_size: Restorer, photo: Photo, tmp_path: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, encode = [], of_one_size.model.encode
    monkeypatch.setattr(of_one_size.model, "encode", lambda x: seen.append(tuple(x.shape)) or encode(x))
    given = images.read(photo(tmp_path / "x.png", height=size[0], width=size[1]))
    drawn = of_one_size.restore(given, Settings(2, 0.8, 0))
    assert all(p.size == (2 * size[0], 2 * size[1]) for p in drawn.pictures)
    assert {*seen} == {(1, 3, 16, 16)} and drawn.tiled == (len(seen) > 1) == (max(size) > 16)


def test_the_log_prob_of_tiles_of_one_size_is_the_sum_over_their_cores(
    of_one_size: Restorer, picture: images.Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts, decode = [], of_one_size.model.decode

    def kept(*given: object) -> Draws:
        draws = decode(*given)  # type: ignore[arg-type]
        with counted(Region(32, 32, 0, 0, 32, 32)):
            parts.append((decode(*given).log_prob, draws.log_prob))  # type: ignore[arg-type]
        return draws

    monkeypatch.setattr(of_one_size.model, "decode", kept)
    drawn = of_one_size.restore(picture, Settings(1, 0.8, 0))
    wholes, cores = (sum(float(part[which][0, 0]) for part in parts) for which in (0, 1))
    assert drawn.log_prob == pytest.approx([cores], rel=1e-6)
    tiles = of_one_size.tiles(24, 40)
    assert len(parts) == len(tiles) > 1 and abs(wholes - cores) > 0.1 * abs(cores)
    assert sum(t.core.height * t.core.width for t in tiles) == 24 * 40


def test_of_one_tile_of_the_one_size_the_score_is_that_of_the_drawing(of_one_size: Restorer) -> None:
    levels = np.random.default_rng(0).integers(12000, 50000, (16, 16, 3)).astype(np.uint16)
    drawn = of_one_size.restore(images.Picture(levels), Settings(2, 0.7, 0))
    scores = of_one_size.score(images.Picture(levels), drawn.pictures)
    assert drawn.log_prob is not None
    assert [s.log_prob for s in scores] == pytest.approx(drawn.log_prob, rel=1e-3)
    assert [s.bits_per_dim for s in scores] == pytest.approx(drawn.bits_per_dim, rel=1e-3)


@pytest.mark.parametrize("tile", ["16", "off", "64"])
def test_a_model_of_one_size_has_no_other_tiles(of_one_size: Restorer, picture: images.Picture, tile: str) -> None:
    of_one_size.tile = tile
    with pytest.raises(UsageError):
        of_one_size.restore(picture, Settings())


def test_a_model_of_the_centre_alone_is_not_tiled(of_one_size: Restorer, picture: images.Picture) -> None:
    of_one_size.model = CGlow(CGlowConfig(**{**FIXED, "window": 0.5})).eval()
    with pytest.raises(InputError):
        of_one_size.restore(picture, Settings())
    whole = images.Picture(np.full((16, 16, 3), 128, np.uint8))
    assert of_one_size.restore(whole, Settings()).pictures[0].size == (32, 32)


@torch.no_grad()
def test_a_model_that_learned_to_dequantize_has_the_bits_of_its_bound(tiny_weight: Path) -> None:
    restorer = Restorer(weights.load(tiny_weight), device="cpu")
    torch.manual_seed(0)
    sizes = {"scale": 2, "scales": 2, "condition_steps": 1, "target_steps": 1, "steps": 1}
    restorer.model = CAFLOW(CAFLOWConfig(width=4, conditional_width=4, dequantization="variational", **sizes)).eval()
    for parameter in restorer.model.dequantizer.parameters():
        parameter += 0.1 * torch.randn_like(parameter)
    random = np.random.default_rng(1)
    x, y = (images.Picture(random.integers(0, 256, (side, side, 3)).astype(np.uint8)) for side in (8, 16))
    score, other = restorer.score(x, [y])[0], restorer.score(x, [y], seed=1)[0]
    model, given, truth = restorer.model, images.to_tensor(x), images.to_tensor(y)
    mass = model.log_mass_given(truth, model.encode(given), torch.Generator().manual_seed(0))
    assert score.bits_per_dim == pytest.approx(bits_per_dim(mass, truth.numel(), 1).item(), rel=1e-6)
    assert score.log_prob == other.log_prob == pytest.approx(model.log_prob(truth, given).item(), rel=1e-6)
    assert score.bits_per_dim != other.bits_per_dim == pytest.approx(score.bits_per_dim, rel=0.1)


def test_tiles_without_a_hole_cost_nothing_and_count_as_in_the_whole(small_weights: dict[str, Path]) -> None:
    picture = images.Picture(np.random.default_rng(0).integers(0, 255, (128, 192, 3)).astype(np.uint8))
    mask = torch.zeros(1, 1, 128, 192)
    mask[..., 20:30, 20:40] = 1
    whole, tiled = (Restorer(weights.load(small_weights["inpaint"]), "cpu", tile=tile) for tile in ("off", "80"))
    encoded: list[int] = []
    plain = tiled.model.encode
    tiled.model.encode = lambda x: encoded.append(1) or plain(x)  # type: ignore[assignment, func-returns-value]
    one, other = (restorer.restore(picture, Settings(2, 0.8, 0), mask) for restorer in (whole, tiled))
    assert other.tiled and len(encoded) < len(tiled.tiles(128, 192))
    assert one.log_prob == pytest.approx(other.log_prob, rel=1e-6)
    for first, second in zip(one.pictures, other.pictures, strict=True):
        assert np.abs(first.pixels.astype(int) - second.pixels).max() <= 1
        assert np.array_equal(second.pixels[64:], picture.pixels[64:])


def rectangles(count: int, height: int, width: int) -> list[torch.Tensor]:
    found = torch.zeros(count, 1, 1, height, width)
    for k, mask in enumerate(found):
        mask[..., 3 + k : 9 + k, 4 : 12 + 2 * k] = 1
    return list(found)


@pytest.mark.parametrize("task", ["super-resolve", "denoise", "inpaint", "colorize"])
def test_pictures_restored_together_are_those_restored_one_by_one(
    task: str, tiny_weight: Path, small_weights: dict[str, Path], photo: Photo, tmp_path: Path
) -> None:
    restorer = Restorer(weights.load(small_weights.get(task, tiny_weight)), "cpu")
    pictures = [images.read(photo(tmp_path / f"{k}.png", height=22, width=30, seed=k)) for k in range(5)]
    masks = [None] * 5 if task != "inpaint" else rectangles(5, 22, 30)
    assert len({restorer.group(*pair) for pair in zip(pictures, masks, strict=True)} - {None}) == 1
    settings, encoded, encode = Settings(3, 0.9, 7, mean=True, std=True), [], restorer.model.encode
    alone = [restorer.restore(picture, settings, mask) for picture, mask in zip(pictures, masks, strict=True)]
    restorer.model.encode = lambda x: encoded.append(len(x)) or encode(x)  # type: ignore[assignment, func-returns-value]
    for one, other in zip(alone, restorer.restore_many(pictures, settings, masks), strict=True):
        assert (one.log_prob, one.bits_per_dim, one.consistency) == (
            other.log_prob,
            other.bits_per_dim,
            other.consistency,
        )
        assert one.mean is not None and other.mean is not None
        drawn = zip([*one.pictures, one.mean], [*other.pictures, other.mean], strict=True)
        assert all(np.array_equal(first.pixels, second.pixels) for first, second in drawn)
        assert np.array_equal(one.std, other.std)  # type: ignore[arg-type]
    assert encoded == [5]


def test_pictures_of_several_groups_and_large_ones_are_restored_alone(
    restorer: Restorer, photo: Photo, tmp_path: Path
) -> None:
    sizes = [(22, 38), (21, 38), (24, 38), (200, 300)]
    pictures = [images.read(photo(tmp_path / f"{h}-{w}.png", height=h, width=w)) for h, w in sizes]
    keys = [restorer.group(picture) for picture in pictures]
    assert keys[0] == keys[1] != keys[2] is not None and keys[3] is None
    made = restorer.restore_many(pictures, Settings(1, 0.8, 0), [None] * 4)
    assert [r.pictures[0].size for r in made] == [(2 * h, 2 * w) for h, w in sizes]


def test_of_pictures_together_the_one_that_is_not_finite_is_drawn_again(
    restorer: Restorer, picture: images.Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, broken = restorer.model.decode, [1]

    def failing(*given: object) -> Draws:
        draws = decode(*given)  # type: ignore[arg-type]
        if broken and broken.pop():
            draws.y[1, 0, :, 0, 0] = torch.nan
        return draws

    good = restorer.restore(picture, Settings(2, 0.8, 0))
    monkeypatch.setattr(restorer.model, "decode", failing)
    made = restorer.restore_many([picture] * 3, Settings(2, 0.8, 0), [None] * 3)
    assert [r.pictures[0].pixels.tobytes() for r in made] == [good.pictures[0].pixels.tobytes()] * 3


def small_memory(restorer: Restorer, monkeypatch: pytest.MonkeyPatch, pixels: int) -> list[int]:
    """Let a model run out of memory for more pixels of x than these; return the sizes that it is asked for."""
    seen, encode = [], restorer.model.encode

    def encoded(x: torch.Tensor) -> object:
        seen.append(x.shape[-2] * x.shape[-1])
        if seen[-1] > pixels:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return encode(x)

    monkeypatch.setattr(restorer.model, "encode", encoded)
    return seen


def test_where_memory_runs_out_smaller_tiles_give_the_same_picture_and_say_so(
    restorer: Restorer, photo: Photo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = images.read(photo(tmp_path / "x.png", height=200, width=260))
    whole = restorer.restore(picture, Settings(2, 0.8, 0))
    monkeypatch.setattr("cflowtool.engine._BUDGET", 1600 * 4 * 300**2)
    seen = small_memory(restorer, monkeypatch, 160 * 160)
    tiled = restorer.restore(picture, Settings(2, 0.8, 0))
    assert not whole.tiled and tiled.tiled and any("memory" in note for note in tiled.notes)
    assert seen[0] == 200 * 260 and max(seen[1:]) <= 160 * 160
    for one, other in zip(whole.pictures, tiled.pictures, strict=True):
        assert np.abs(one.pixels.astype(int) - other.pixels).max() <= 1
    assert tiled.log_prob == pytest.approx(whole.log_prob, rel=1e-5)


def test_where_no_tile_is_small_enough_the_picture_is_refused(
    restorer: Restorer, picture: images.Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_memory(restorer, monkeypatch, 0)
    with pytest.raises(InputError) as refused:
        restorer.restore(picture, Settings())
    assert refused.value.reason == "memory"


def test_an_error_that_is_not_about_memory_is_not_tried_again(
    restorer: Restorer, picture: images.Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(restorer.model, "encode", lambda x: calls.append(1) or [][0])
    with pytest.raises(IndexError):
        restorer.restore(picture, Settings())
    assert len(calls) == 1


def test_a_model_that_does_not_invert_itself_is_told_of_or_refused(
    tiny_weight: Path, picture: images.Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = weights.load(tiny_weight)
    right, dims = loaded.model.log_prob_given, loaded.model.dims(*picture.size)
    for error, refused, told in (
        (0.0, False, False),
        (0.01, False, True),
        (5.0, True, True),
        (float("nan"), True, True),
    ):
        restorer = Restorer(loaded, "cpu")
        monkeypatch.setattr(restorer.model, "log_prob_given", lambda y, c, e=error: right(y, c) + e * dims)
        if refused:
            with pytest.raises(CflowError, match="invert"):
                restorer.restore(picture, Settings(1, 0.8, 0))
        else:
            assert any("invert" in note for note in restorer.restore(picture, Settings(1, 0.8, 0)).notes) == told


def test_the_inversion_of_a_large_tile_is_checked_on_a_part_of_it_once(
    small_weights: dict[str, Path], photo: Photo, tmp_path: Path
) -> None:
    restorer = Restorer(weights.load(small_weights["inpaint"]), "cpu")
    picture = images.read(photo(tmp_path / "x.png", height=180, width=190))
    mask, seen, decode = torch.zeros(1, 1, 180, 190), [], restorer.model.decode
    mask[..., 100:175, 20:180] = 1
    restorer.model.decode = lambda eps, c: seen.append(float(c[-1].sum())) or decode(eps, c)  # type: ignore[assignment, func-returns-value]
    for _ in range(2):
        restorer.restore(picture, Settings(1, 0.8, 0), mask)
    assert len(seen) == 3 and 0 < seen[1] < seen[0] == seen[2]
    assert restorer.inversion is not None and restorer.inversion < 1e-5


@pytest.mark.parametrize("task", ["colorize", "segment-vessels"])
def test_a_result_of_the_pictures_own_size_is_finished_in_rows_as_if_in_one(
    task: str, small_weights: dict[str, Path], photo: Photo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = images.read(photo(tmp_path / "x.png", height=90, width=70))
    restorer, settings = Restorer(weights.load(small_weights[task]), "cpu"), Settings(3, 0.9, 0, mean=True, std=True)
    whole = restorer.restore(picture, settings)
    monkeypatch.setattr("cflowtool.canvas._ROWS", 13)
    rows = restorer.restore(picture, settings)
    assert whole.mean is not None and rows.mean is not None
    for one, other in zip([*whole.pictures, whole.mean], [*rows.pictures, rows.mean], strict=True):
        assert np.array_equal(one.pixels, other.pixels)
    assert np.array_equal(whole.std, rows.std)  # type: ignore[arg-type]


BORDERS = {"denoise-cnf": "60", "inpaint-cnf": "96"}


@pytest.mark.parametrize("name", BORDERS)
def test_no_seam_shows_where_the_margin_is_far_below_the_receptive_field(name: str) -> None:
    root = Path(__file__).parent
    loaded = weights.load(root.parent / "weights" / f"{name}.safetensors")
    photo = images.read(root / "data" / "photo" / "brushes.png").pixels
    picture = images.Picture(np.concatenate([photo, photo[:, ::-1]], axis=1))
    mask = torch.zeros(1, 1, *picture.size)
    mask[..., 30:90, 60:200] = 1
    given = mask if name.startswith("inpaint") else None
    whole = Restorer(loaded, "cpu", tile="off").restore(picture, Settings(1, 0.0, 0), given)
    restorer = Restorer(loaded, "cpu", tile=BORDERS[name])
    tiled = restorer.restore(picture, Settings(1, 0.0, 0), given)
    tiles = restorer.tiles(*picture.size)
    assert tiled.tiled and all(tile.blend for tile in tiles) and loaded.model.reach > 4 * tiles[0].blend
    first, second = (made.pictures[0].pixels.astype(float) for made in (whole, tiled))
    cuts = sorted({tile.core.left for tile in tiles} - {0})
    steps = [np.abs(np.diff(values, axis=1)).mean((0, 2))[[cut - 1 for cut in cuts]] for values in (first, second)]
    assert 0.98 < steps[1].mean() / steps[0].mean() < 1.02
    assert np.abs(second - first).mean() < 0.2 and np.abs(second - first).max() <= 6


@pytest.mark.parametrize("size", [(22, 38), (150, 170)])
def test_one_ahead_as_on_a_gpu_the_results_are_the_same(
    tiny_weight: Path, photo: Photo, tmp_path: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = images.read(photo(tmp_path / "x.png", *size))
    settings, loaded = Settings(5, 0.8, 3, mean=True, std=True), weights.load(tiny_weight)
    begun: list[bool] = []

    def in_flight(items: Iterator[Begun], device: torch.device) -> Iterator[Begun]:
        begun.append(True)
        return one_ahead(items)

    plain = Restorer(loaded, "cpu", tile="64").restore(picture, settings)
    monkeypatch.setattr("cflowtool.restorer._in_flight", in_flight)
    ahead = Restorer(loaded, "cpu", tile="64").restore(picture, settings)
    assert begun and plain.tiled is ahead.tiled and plain.log_prob == ahead.log_prob
    for one, other in zip([*plain.pictures, plain.mean], [*ahead.pictures, ahead.mean], strict=True):
        assert np.array_equal(one.pixels, other.pixels)
    assert np.array_equal(plain.std, ahead.std)


def test_on_a_cpu_nothing_is_captured(restorer: Restorer, picture: images.Picture) -> None:
    for _ in range(3):
        restorer.restore(picture, Settings(2, 0.8, 0))
        restorer.score(picture, restorer.restore(picture, Settings(1, 0.8, 0)).pictures)
    assert restorer.graphs.calls == 0
