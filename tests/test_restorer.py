"""The restorer: the laws of sampling, whole and in tiles."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from cflowtool import images, weights
from cflowtool.canvas import Settings
from cflowtool.errors import CflowError, InputError, UsageError
from cflowtool.models import Draws
from cflowtool.restorer import Restorer

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
        Restorer(weights.load(tiny_weight), device="cpu", tile="16").restore(picture, Settings())


def test_mean_and_spread_are_those_of_the_samples(restorer: Restorer, picture: images.Picture) -> None:
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
            draws.y[:, 0, :, 0, 0] = torch.nan
        return draws

    monkeypatch.setattr(restorer.model, "decode", failing)
    drawn = restorer.restore(picture, Settings(2, 0.8, 0))
    assert len(drawn.pictures) == 2 and "[0]" in drawn.notes[0]
    broken.extend([1] * 4)
    with pytest.raises(CflowError):
        restorer.restore(picture, Settings(2, 0.8, 0))
