"""The laws of every transform: a new one is one more line of TRANSFORMS."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import cflowtool.flows
from cflowtool.flows.actnorm import ActNorm
from cflowtool.flows.conditional import Conditional1x1, ConditionalActNorm
from cflowtool.flows.coupling import AffineCoupling, UnconditionalCoupling
from cflowtool.flows.gaussian import ConditionalPrior, ConditionalSplitPrior
from cflowtool.flows.injected import InjectedSteps
from cflowtool.flows.injector import AffineInjector
from cflowtool.flows.linear import Invertible1x1, Transition
from cflowtool.flows.multiscale import MultiScale
from cflowtool.flows.pyramid import Chain, Pyramid, affine_step
from cflowtool.flows.squeeze import Squeeze
from cflowtool.flows.transform import (
    Region,
    Transform,
    bounded,
    counted,
    held,
    occupied,
    total,
    total_constant,
    variable,
)
from cflowtool.flows.translation import Rotation1x1, TranslationCoupling, translation_step

BATCH, CHANNELS, HEIGHT, LENGTH, WIDTH = 3, 5, 4, 8, 8


class Stacked(Transform):
    """A pyramid of two levels as one transform: contexts at y's resolution, noise stacked at the coarsest level's."""

    def __init__(self, pyramid: Pyramid) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.context_channels = sum(pyramid.context_channels)

    def _levels(self, context: Tensor) -> tuple[Tensor, ...]:
        parts = enumerate(context.split(self.pyramid.context_channels, 1), 1)
        return tuple(part[..., :: 2**level, :: 2**level] for level, part in parts)

    def forward(self, y: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        (fine, coarse), log_det = self.pyramid(y, self._levels(context))
        return torch.cat((F.pixel_unshuffle(fine, 2), coarse), 1), log_det

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        fine, coarse = z.split((4 * self.pyramid.widths[0], self.pyramid.widths[1]), 1)
        return self.pyramid.inverse((F.pixel_shuffle(fine, 2), coarse), self._levels(context))


class Scales(Transform):
    """An unconditional flow of two scales as one transform, its latents stacked at the coarsest one's resolution."""

    def __init__(self, flow: MultiScale) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, y: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        (fine, coarse), log_det = self.flow(y)
        return torch.cat((F.pixel_unshuffle(fine, 2), coarse), 1), log_det

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        fine, coarse = z.split((4 * self.flow.widths[0], self.flow.widths[1]), 1)
        return self.flow.inverse((F.pixel_shuffle(fine, 2), coarse))


class Injected(Transform):
    """Two steps with injectors as one transform: what all injectors are given comes first."""

    def __init__(self, steps: InjectedSteps) -> None:
        super().__init__()
        self.steps = steps
        self.shares = [2 * CHANNELS, 2 * CHANNELS, 2 * WIDTH]
        self.context_channels = sum(self.shares)

    def _parts(self, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        shifts, log_scales, couplings = context.split(self.shares, 1)
        return shifts, bounded(log_scales, 3.0), couplings

    def forward(self, y: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return self.steps(y, *self._parts(context))

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return self.steps.inverse(z, *self._parts(context))


TRANSFORMS: dict[str, Callable[[], Transform]] = {
    "ActNorm": lambda: ActNorm(CHANNELS),
    "Invertible1x1": lambda: Invertible1x1(CHANNELS),
    "Transition": lambda: Transition(CHANNELS),
    "Squeeze": Squeeze,
    "Rotation1x1": lambda: Rotation1x1(CHANNELS),
    "TranslationCoupling": lambda: TranslationCoupling(CHANNELS, WIDTH),
    "translation step": lambda: translation_step(WIDTH)(CHANNELS),
    "AffineCoupling": lambda: AffineCoupling(CHANNELS, WIDTH),
    "UnconditionalCoupling": lambda: UnconditionalCoupling(CHANNELS, WIDTH),
    "AffineInjector": lambda: AffineInjector(CHANNELS, centre=-0.5),
    "ConditionalActNorm": lambda: ConditionalActNorm(CHANNELS),
    "Conditional1x1": lambda: Conditional1x1(CHANNELS),
    "ConditionalPrior": lambda: ConditionalPrior(CHANNELS),
    "ConditionalSplitPrior": lambda: ConditionalSplitPrior(CHANNELS, WIDTH),
    "Chain": lambda: Chain([affine_step(WIDTH, 1.0, 4.0)(CHANNELS), AffineInjector(CHANNELS)]),
    "InjectedSteps": lambda: Injected(InjectedSteps(CHANNELS, WIDTH, [None, None])),
    "MultiScale": lambda: Scales(MultiScale(CHANNELS, 2, 1, WIDTH)),
    "Pyramid": lambda: Stacked(Pyramid(CHANNELS, 2, 2, affine_step(WIDTH, 1.0, 4.0), WIDTH)),
}

Case = tuple[Transform, Tensor, Tensor]


@pytest.fixture(params=TRANSFORMS)
def case(request: pytest.FixtureRequest, randomised: Callable[[nn.Module], Transform]) -> Case:
    """A transform with all its parameters random, y (B, C, H, W) and a context of the same batch."""
    torch.manual_seed(1)
    transform = randomised(TRANSFORMS[request.param]())
    y = torch.randn(BATCH, CHANNELS, HEIGHT, LENGTH, dtype=torch.float64)
    return transform, y, torch.randn(BATCH, transform.context_channels, HEIGHT, LENGTH, dtype=torch.float64)


def subclasses(kind: type) -> Iterator[type]:
    for below in kind.__subclasses__():
        yield below
        yield from subclasses(below)


def test_every_transform_is_held_to_the_laws() -> None:
    for module in pkgutil.iter_modules(cflowtool.flows.__path__, "cflowtool.flows."):
        importlib.import_module(module.name)
    found = {kind.__name__ for kind in subclasses(Transform) if kind.__module__.startswith("cflowtool")}
    assert found - {"Affine1x1"} <= {*TRANSFORMS}  # that one is what its kinds have in common


def test_inverse_undoes_forward(case: Case) -> None:
    transform, y, context = case
    z, _ = transform(y, context)
    assert z.numel() == y.numel() and (transform.inverse(z, context)[0] - y).abs().max() < 1e-9


def test_forward_undoes_inverse(case: Case) -> None:
    transform, y, context = case
    z = torch.randn_like(transform(y, context)[0])
    assert (transform(transform.inverse(z, context)[0], context)[0] - z).abs().max() < 1e-9


def test_the_log_det_is_that_of_the_jacobian_of_each_image_alone(case: Case) -> None:
    transform, y, context = case
    _, log_det = transform(y, context)
    for i in range(2):
        one, x = y[i : i + 1], context[i : i + 1]
        jacobian = torch.autograd.functional.jacobian(lambda v, x=x: transform(v, x)[0], one)
        wanted = torch.linalg.slogdet(jacobian.reshape(one.numel(), one.numel())).logabsdet
        assert log_det[i].item() == pytest.approx(wanted.item(), abs=1e-9)


def test_the_log_dets_cancel_and_are_one_number_an_image(case: Case) -> None:
    transform, y, context = case
    z, forward = transform(y, context)
    _, inverse = transform.inverse(z, context)
    assert forward.shape == inverse.shape == (BATCH,)
    assert (forward + inverse).abs().max() < 1e-9


def test_one_context_serves_every_image(case: Case) -> None:
    transform, y, context = case
    one = context[:1]
    for direction, given in ((transform, y), (transform.inverse, transform(y, one)[0])):
        for result, wanted in zip(direction(given, one), direction(given, one.expand_as(context)), strict=True):
            assert result.shape == wanted.shape and torch.allclose(result, wanted, rtol=0, atol=1e-12)


def test_the_values_give_every_parameter_and_the_context_a_gradient(case: Case) -> None:
    transform, y, context = case
    z, _ = transform(y.requires_grad_(), context.requires_grad_())
    inputs = [y, *transform.parameters()] + [context] * bool(context.numel())
    gradients = torch.autograd.grad(z.pow(4).sum(), inputs)  # the sum of squares does not see a rotation
    assert all(torch.isfinite(gradient).all() and gradient.any() for gradient in gradients)
    if transform.context_channels:  # a hidden ReLU may be off at all of a coarse level's few positions
        assert (gradients[-1].abs().amax((0, 2, 3)) > 0).double().mean() > 0.9


def test_the_log_det_gives_what_it_depends_on_a_gradient_or_is_one_number_for_every_image(case: Case) -> None:
    transform, y, context = case
    _, log_det = transform(y.requires_grad_(), context.requires_grad_())
    if (not transform.context_channels or not log_det.requires_grad) and (log_det == log_det[0]).all():
        return
    (gradient,) = torch.autograd.grad(log_det.sum(), [context if transform.context_channels else y])
    assert torch.isfinite(gradient).all() and gradient.any() and log_det.unique().numel() == BATCH


def test_the_regions_of_a_partition_add_up_to_the_whole(case: Case) -> None:
    transform, y, context = case
    y, context = (torch.cat((t, t.flip(2)), 2).roll(1, 3) for t in (y, context))
    cuts = [(0, 0, 4, 4), (0, 4, 4, 8), (4, 0, 8, 8)]
    z, whole = transform(y, context)
    parts, backs = [], []
    for cut in cuts:
        with counted(Region(8, 8, *cut)):
            parts.append(transform(y, context)[1])
            backs.append(transform.inverse(z, context)[1])
    assert all(part.shape == (BATCH,) for part in parts)
    for total_of_parts in (sum(parts), -sum(backs)):
        assert torch.allclose(total_of_parts, whole, rtol=0, atol=1e-9)


def test_values_and_log_dets_stay_fp32_when_the_networks_do_not(case: Case) -> None:
    transform, y, context = (t.float() for t in case)
    with torch.autocast("cpu", torch.bfloat16):
        z, forward = transform(y, context)
        back, inverse = transform.inverse(z, context)
    assert {t.dtype for t in (z, forward, back, inverse)} == {torch.float32}
    # A value that rounding brings to another bf16 number on the way back is off by more than rounding.
    assert torch.allclose(back, y, rtol=0, atol=4e-3) and torch.allclose(forward, -inverse, rtol=1e-3, atol=1e-3)


def test_totals_count_everything_but_in_a_region() -> None:
    values = torch.arange(2 * 8 * 8, dtype=torch.float64).view(1, 2, 8, 8)
    assert total(values, 3).tolist() == [values.sum()] * 3
    assert total_constant(torch.tensor(0.5), values).tolist() == [32]
    with counted(Region(16, 16, 4, 8, 8, 16)):
        assert total(values, 3).tolist() == [values[..., 2:4, 4:8].sum()] * 3
        assert total_constant(torch.tensor(0.5), values).tolist() == [4]


def test_a_region_ends_with_its_block_even_by_an_error() -> None:
    values = torch.ones(1, 1, 4, 4)
    with pytest.raises(ZeroDivisionError), counted(Region(4, 4, 0, 0, 2, 2)):
        raise ZeroDivisionError
    assert total(values, 1).item() == 16


def test_bounded_is_the_identity_near_zero_and_never_beyond_its_bound() -> None:
    small, large = torch.linspace(-1e-3, 1e-3, 9), torch.tensor([-1e30, -1e6, 50.0, 1e6, 1e30])
    assert torch.allclose(bounded(small, 2.0), small, rtol=1e-5, atol=0)
    assert torch.allclose(bounded(large, 2.0).abs(), torch.tensor(2.0))
    assert bounded(torch.linspace(-9, 9, 99), 2.0).diff().gt(0).all()


def test_only_variables_are_counted_at_every_resolution_and_in_every_region() -> None:
    where = torch.tensor([[[[1.0, 0.0, 1.0]]], [[[0.0, 0.0, 1.0]]]])
    fine, coarse = torch.randn(2, 3, 4, 12), torch.randn(2, 5, 1, 3)
    with variable(where):
        assert torch.equal(held(coarse), coarse * where) and not held(fine)[0, :, :, 4:8].any()
        assert torch.allclose(
            total(fine, 2), torch.stack((fine[0].sum() - fine[0, :, :, 4:8].sum(), fine[1, :, :, 8:].sum()))
        )
        assert total_constant(torch.tensor(0.5), fine).tolist() == [16.0, 8.0]
        assert torch.equal(
            occupied(coarse), torch.stack((coarse[0, :, 0, 0], coarse[0, :, 0, 2], coarse[1, :, 0, 2]), 1)
        )
        with counted(Region(4, 12, 0, 0, 2, 8)):
            left = total_constant(torch.tensor(0.5), fine)
        with counted(Region(4, 12, 0, 8, 2, 12)):
            assert torch.equal(left + total_constant(torch.tensor(0.5), fine), torch.tensor([8.0, 4.0]))
    assert torch.equal(held(fine), fine) and total_constant(torch.tensor(0.5), fine).tolist() == [24.0, 24.0]


def test_activation_normalization_starts_from_the_variables_alone() -> None:
    where, layer = torch.zeros(1, 1, 2, 2), ActNorm(3)
    where[..., 0, 1] = 1
    y = 4 + 3 * torch.randn(2, 3, 8, 8)
    with variable(where):
        z, _ = layer(held(y), y)
    inside = z[..., :4, 4:].transpose(0, 1).flatten(1)
    assert inside.mean(1).abs().max() < 1e-5 and (inside.std(1, correction=0) - 1).abs().max() < 1e-5
