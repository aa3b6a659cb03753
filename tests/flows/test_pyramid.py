"""A pyramid deals every dimension out to its levels' noise, at any size that fits."""

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from cflowtool.flows.linear import Invertible1x1, Map1x1, Transition
from cflowtool.flows.pyramid import Chain, Pyramid, affine_step
from cflowtool.flows.transform import Region, counted, held, variable

CHANNELS, WIDTH = 3, 4


def pyramid_of(levels: int, steps: int = 1) -> Pyramid:
    torch.manual_seed(0)
    return Pyramid(CHANNELS, levels, steps, affine_step(WIDTH, 1.0, 4.0), WIDTH).eval()


Make = Callable[..., Tensor]


def context_of(pyramid: Pyramid, height: int, width: int, make: Make = torch.randn) -> tuple[Tensor, ...]:
    counts = enumerate(pyramid.context_channels, 1)
    return tuple(make(1, count, height >> level, width >> level) for level, count in counts)


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("blocks", [(1, 1), (3, 2)])
def test_the_latent_has_the_promised_shapes_and_every_dimension(levels: int, blocks: tuple[int, int]) -> None:
    pyramid = pyramid_of(levels)
    height, width = (block << levels for block in blocks)
    shapes = pyramid.latent_shapes(height, width)
    eps, _ = pyramid(torch.randn(2, CHANNELS, height, width), context_of(pyramid, height, width))
    assert [tuple(level.shape) for level in eps] == [(2, *shape) for shape in shapes] and len(shapes) == levels
    assert sum(c * h * w for c, h, w in shapes) == CHANNELS * height * width
    assert pyramid.inverse(eps, context_of(pyramid, height, width))[0].shape == (2, CHANNELS, height, width)


@pytest.mark.parametrize("size", [(6, 8), (8, 6), (7, 8), (2, 2)])
def test_sizes_that_are_no_multiples_raise(size: tuple[int, int]) -> None:
    pyramid = pyramid_of(2)
    with pytest.raises(RuntimeError):
        pyramid(torch.randn(1, CHANNELS, *size), context_of(pyramid, *size))


def test_it_starts_as_a_rotation_when_the_context_says_nothing() -> None:
    pyramid, y = pyramid_of(2, 3), torch.randn(2, CHANNELS, 8, 12)
    eps, log_det = pyramid(y, context_of(pyramid, 8, 12, torch.zeros))
    norm = sum(level.square().flatten(1).sum(1) for level in eps)
    assert torch.allclose(norm, y.square().flatten(1).sum(1), rtol=1e-4) and log_det.abs().max() < 1e-3


def test_a_chain_is_its_transforms_in_order(randomised: Callable[..., nn.Module]) -> None:
    first, second = randomised(Transition(3)), randomised(Transition(3))
    y, nothing = torch.randn(2, 3, 4, 4, dtype=torch.float64), torch.zeros(1, 0, 4, 4).double()
    z, log_det = Chain([first, second])(y, nothing)
    middle, log_det_first = first(y, nothing)
    wanted, log_det_second = second(middle, nothing)
    assert torch.equal(z, wanted) and torch.allclose(log_det, log_det_first + log_det_second)


def test_a_chain_deals_its_context_out_in_order(randomised: Callable[..., nn.Module]) -> None:
    chain = randomised(Chain([affine_step(WIDTH, 1.0, 4.0)(4) for _ in range(2)]))
    y, context = torch.randn(1, 4, 4, 4, dtype=torch.float64), torch.randn(1, 2 * WIDTH, 4, 4, dtype=torch.float64)
    middle, _ = chain.transforms[0](y, context[:, :WIDTH])
    assert torch.equal(chain(y, context)[0], chain.transforms[1](middle, context[:, WIDTH:])[0])


SETTINGS = {
    "plain": nullcontext,
    "counted": lambda: counted(Region(8, 8, 2, 0, 6, 8)),
    "held": lambda: variable(torch.tensor([[1.0, 0.0], [0.0, 1.0]]).view(1, 1, 2, 2)),
}


@pytest.mark.parametrize("setting", SETTINGS)
@torch.no_grad()
def test_a_prepared_chain_is_the_same(setting: str, randomised: Callable[..., nn.Module]) -> None:
    torch.manual_seed(0)
    parts = [Transition(4), Transition(4), *(affine_step(WIDTH, 1.0, 4.0)(4) for _ in range(2)), Invertible1x1(4)]
    chain = randomised(Chain([Chain(parts[:3]), *parts[3:]])).eval()
    y, context = torch.randn(2, 4, 8, 8).double(), torch.randn(1, 2 * WIDTH, 8, 8).double()
    with SETTINGS[setting]():
        wanted = [*chain(y, context), *chain.inverse(y, context)]
        chain.prepare()
        found = [*chain(y, context), *chain.inverse(y, context)]
        for value, other in zip(found, wanted, strict=True):
            assert torch.allclose(value, other, rtol=1e-11, atol=1e-11) and value.shape == other.shape
    # Five maps and two couplings; what the parameters are now is what counts.
    assert sum(isinstance(part, Map1x1) for part in chain._flat) == 3 and len(chain._flat) == 5
    next(chain.parameters()).add_(1)
    assert not torch.allclose(chain(y, context)[0], wanted[0])


@torch.no_grad()
def test_what_is_held_has_no_say_in_either_direction(randomised: Callable[..., nn.Module]) -> None:
    pyramid = randomised(pyramid_of(2, 2), 0.5)
    context = tuple(part.double() for part in context_of(pyramid, 8, 16))
    where = torch.zeros(1, 1, 2, 4).double()
    where[..., 0, 1:3] = where[..., 1, 0] = 1
    y, other = (torch.randn(1, CHANNELS, 8, 16).double() for _ in range(2))
    with variable(where):
        elsewhere = held(y) + other - held(other)
        (eps, log_det), (same, too) = pyramid(y, context), pyramid(elsewhere, context)
        assert all(torch.allclose(held(a), held(b), rtol=0, atol=1e-12) for a, b in zip(eps, same, strict=True))
        assert torch.allclose(log_det, too, rtol=1e-12)
        noisy = tuple(held(e) + 1 - held(torch.ones_like(e)) for e in eps)
        again, back = pyramid.inverse(noisy, context)
        assert torch.allclose(again, held(y), rtol=0, atol=1e-9) and torch.allclose(back, -log_det, rtol=1e-9)
