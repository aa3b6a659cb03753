"""Blocks and components are invertible, their log-dets the Jacobian's, and they see what they are given alone."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cflowtool.flows.autoregressive import Component, ConditionalBlock

Randomise = Callable[..., nn.Module]
CHANNELS, KNOWN, DRAWN, SIDE = 2, 3, 2, 8
SETTINGS = {"steps": 2, "width": 4}


@pytest.fixture
def component(randomised: Randomise) -> Component:
    """F_i of two scales, whose second block sees l_j too."""
    torch.manual_seed(0)
    first = ConditionalBlock(CHANNELS, KNOWN, 0, **SETTINGS)
    second = ConditionalBlock(2 * CHANNELS, KNOWN, DRAWN, **SETTINGS)
    built = randomised(Component([first, second]))
    assert isinstance(built, Component)
    return built


def given(batch: int = 1) -> tuple[Tensor, list[Tensor], tuple[Tensor, Tensor]]:
    """What the component maps, what is known of x at both scales, and (l_i, l_j)."""
    generator = torch.Generator().manual_seed(1)

    def of(channels: int, side: int) -> Tensor:
        return torch.randn(batch, channels, side, side, generator=generator, dtype=torch.float64)

    y = of(CHANNELS, SIDE)
    return y, [of(KNOWN, SIDE), of(KNOWN, SIDE // 2)], (y, of(DRAWN, SIDE // 2))


def known_of(component: Component, d: list[Tensor]) -> tuple[Tensor, ...]:
    return tuple(block.known(part) for block, part in zip(component.blocks, d, strict=True))


@torch.no_grad()
def test_a_component_comes_back_with_the_opposite_log_det(component: Component) -> None:
    y, d, lower = given(3)
    known = known_of(component, d)
    eps, log_det = component(y, known, lower)
    again, back = component.inverse(eps, known, lower)
    assert (again - y).abs().max() < 1e-10 and torch.allclose(log_det, -back, rtol=1e-10)
    assert [tuple(e.shape[1:]) for e in eps] == [(4, 4, 4), (16, 2, 2)]


def test_the_log_det_is_the_jacobians(component: Component) -> None:
    y, d, lower = given()
    known = known_of(component, d)

    def noise_of(values: Tensor) -> Tensor:
        return torch.cat([e.flatten() for e in component(values, known, lower)[0]])

    jacobian = torch.autograd.functional.jacobian(noise_of, y).flatten(1)
    assert torch.allclose(component(y, known, lower)[1], torch.linalg.slogdet(jacobian).logabsdet, rtol=1e-9)


@torch.no_grad()
def test_the_latent_itself_is_not_looked_at_on_the_way_back(component: Component) -> None:
    y, d, lower = given()
    known = known_of(component, d)
    eps, _ = component(y, known, lower)
    again, _ = component.inverse(eps, known, (torch.full_like(y, torch.nan), lower[1]))
    assert (again - y).abs().max() < 1e-10


def test_everything_that_is_given_has_a_part_in_the_noise(component: Component) -> None:
    y, d, lower = given()
    sources = [*d, lower[1]]
    for source in sources:
        source.requires_grad_()
    eps, log_det = component(y, known_of(component, d), lower)
    gradients = torch.autograd.grad(sum(e.square().sum() for e in eps) + log_det.sum(), sources)
    assert all(gradient.any() for gradient in gradients)


@torch.no_grad()
def test_what_is_known_of_one_image_serves_all_its_samples(component: Component) -> None:
    y, d, lower = given(4)
    one = known_of(component, [part[:1] for part in d])
    each = known_of(component, [part[:1].expand(4, -1, -1, -1) for part in d])
    for shared, repeated in zip(component(y, one, lower)[0], component(y, each, lower)[0], strict=True):
        assert torch.allclose(shared, repeated, rtol=1e-12)
