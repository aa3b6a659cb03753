"""Draws are ranked by their likelihood and by nothing else, and noise belongs to a place."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cflowtool import weights
from cflowtool.errors import NoLikelihood
from cflowtool.models.base import Draws, Sampler, SizeRule, per_sample

SCORES = st.lists(st.lists(st.integers(-5, 5), min_size=4, max_size=4), min_size=1, max_size=3)


class Toy(Sampler):
    """A sampler of two levels of noise, as a pyramid has them."""

    scale, size = 2, SizeRule(multiple_of=2)

    def latent_shapes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        return [(3, height, width), (5, height // 2, width // 2)]


@given(SCORES)
@settings(max_examples=30, deadline=None, derandomize=True)
def test_ranked_draws_follow_their_log_prob_and_keep_their_images(scores: list[list[int]]) -> None:
    log_prob = torch.tensor(scores).double()
    marked = torch.arange(log_prob.numel()).view(*log_prob.shape, 1, 1, 1).expand(-1, -1, 3, 2, 2)
    ranked = Draws(marked, log_prob).ranked()
    assert ranked.log_prob is not None and (ranked.log_prob.diff(dim=1) <= 0).all()
    assert torch.equal(log_prob.flatten()[ranked.y[:, :, 0, 0, 0]], ranked.log_prob)
    assert torch.equal(ranked.y[:, :, 0, 0, 0].sort(1).values, marked[:, :, 0, 0, 0])


def test_equally_likely_draws_stay_in_their_order() -> None:
    assert Draws(torch.zeros(1, 50, 1, 1, 1), torch.zeros(1, 50)).order().tolist() == [list(range(50))]


@pytest.mark.parametrize("method", ["order", "ranked"])
def test_draws_without_a_likelihood_are_never_ranked(method: str) -> None:
    with pytest.raises(NoLikelihood):
        getattr(Draws(torch.zeros(1, 2, 3, 4, 4), None), method)()


@pytest.mark.parametrize("corner", [(0, 0), (2, 6), (70, 64)])
def test_a_tiles_noise_is_the_crop_of_the_whole_images(corner: tuple[int, int]) -> None:
    whole, part = Toy().noise((80, 80), [4], 0.7, 5), Toy().noise((8, 4), [4], 0.7, 5, corner)
    for level, (large, small) in enumerate(zip(whole, part, strict=True)):
        top, left = (side >> level for side in corner)
        assert torch.equal(small, large[..., top : top + small.shape[-2], left : left + small.shape[-1]])


def test_the_temperature_is_one_multiplication() -> None:
    for warm, cold in zip(Toy().noise((4, 4), [0], 1.0, 0), Toy().noise((4, 4), [0], 0.5, 0), strict=True):
        assert torch.equal(warm * 0.5, cold)


def test_the_context_is_repeated_image_by_image_and_a_single_one_is_not() -> None:
    entries = torch.randn(2, 3, 4, 4), torch.randn(2, 5, 2, 2)
    for repeated, entry in zip(per_sample(entries, 3), entries, strict=True):
        assert torch.equal(repeated.unflatten(0, (2, 3)), entry[:, None].expand(2, 3, *entry.shape[1:]))
    single = (torch.randn(1, 3, 4, 4),)
    assert per_sample(single, 3) is single


def test_the_warm_loss_is_the_loss_unless_a_model_says_more() -> None:
    class Constant(Toy):
        def loss(self, y: torch.Tensor, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            return y.flatten(1).sum(1)

    y = torch.rand(2, 3, 4, 4)
    assert torch.equal(Constant().warm_loss(y, y, torch.Generator()), y.flatten(1).sum(1))


@pytest.mark.parametrize("name", weights.registry())
@torch.no_grad()
def test_a_shipped_weight_prepared_gives_the_same_pictures_and_log_probs(name: str) -> None:
    model = weights.load(weights.registry()[name]).model
    coarse = torch.rand(1, model.in_channels, 4, 4, generator=torch.Generator().manual_seed(0))
    height, width = model.size.fixed or (32, 32)
    x = nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    if model.in_channels == 4:
        x[:, 3] = 0.1
        x[:, 3, height // 4 : -height // 4, width // 4 : -width // 4] = 1
    plain, prepared = model.sample(x, 2, 0.5, 0), model.prepare().sample(x, 2, 0.5, 0)
    assert plain.log_prob is not None and prepared.log_prob is not None
    assert (plain.y - prepared.y).abs().max() < 1e-5 * max(1, float(plain.y.abs().max()))
    assert torch.allclose(plain.log_prob, prepared.log_prob, rtol=1e-6)
