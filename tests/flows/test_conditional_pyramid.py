"""The pyramid of steps made from x is undone, its log-det exact, and everything it is told matters."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cflowtool.flows.conditional import ConditionalStep, maps_of
from cflowtool.flows.conditional_pyramid import ConditionalPyramid, HeadedStep

Randomise = Callable[..., nn.Module]


def pyramid_of(levels: int, randomised: Randomise) -> tuple[ConditionalPyramid, tuple[Tensor, ...]]:
    torch.manual_seed(3)
    pyramid = randomised(ConditionalPyramid(2, levels, 2, 8))
    context = []
    for i, level in enumerate(pyramid.levels, 1):
        context.append(0.3 * torch.randn(2, sum(level.vector_shares), 1, 1, dtype=torch.float64))
        context += [torch.randn(2, share, 8 >> i, 8 >> i, dtype=torch.float64) for share in level.map_shares]
        assert sum(level.vector_groups) == sum(level.vector_shares)
    return pyramid, tuple(context)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_the_pyramid_is_undone_and_its_log_det_is_the_jacobians(levels: int, randomised: Randomise) -> None:
    pyramid, context = pyramid_of(levels, randomised)
    y = torch.randn(2, 2, 8, 8, dtype=torch.float64)
    eps, log_det = pyramid(y, context)
    assert [tuple(e.shape[1:]) for e in eps] == pyramid.latent_shapes(8, 8)
    back, log_det_back = pyramid.inverse(eps, context)
    assert (back - y).abs().max() < 1e-9 and (log_det + log_det_back).abs().max() < 1e-9
    for i in range(2):
        own = tuple(entry[i : i + 1] for entry in context)
        flat = lambda v, own=own: torch.cat([e.flatten() for e in pyramid(v, own)[0]])  # noqa: E731
        jacobian = torch.autograd.functional.jacobian(flat, y[i : i + 1]).flatten(1)
        assert log_det[i].item() == pytest.approx(torch.linalg.slogdet(jacobian).logabsdet.item(), abs=1e-8)


def test_every_entry_of_the_pyramids_context_matters(randomised: Randomise) -> None:
    pyramid, context = pyramid_of(2, randomised)
    context = tuple(entry.requires_grad_() for entry in context)
    eps, log_det = pyramid(torch.randn(2, 2, 8, 8, dtype=torch.float64), context)
    gradients = torch.autograd.grad(sum(e.pow(4).sum() for e in eps) + log_det.sum(), context)
    seen = [gradient.abs().amax((0, 2, 3)) > 0 for gradient in gradients]
    assert all(entry.any() for entry in seen) and torch.cat(seen).double().mean() > 0.9


def test_a_step_with_a_head_is_the_step_of_what_the_head_makes(randomised: Randomise) -> None:
    step, head = randomised(ConditionalStep(4, 6)), nn.Conv2d(3, 6, 3, padding=1).double()
    y, features = (torch.randn(2, c, 4, 4, dtype=torch.float64) for c in (4, 3))
    matrices, shifts, _ = maps_of(step.rotation[None], torch.randn(2, 24, 1, 1, dtype=torch.float64))
    told, headed = (matrices[:, 0], shifts[:, 0]), HeadedStep(step, head)
    for found, wanted in ((headed, step), (headed.inverse, step.inverse)):
        for one, other in zip(found(y, *told, features), wanted(y, *told, head(features)), strict=True):
            assert torch.equal(one, other)
