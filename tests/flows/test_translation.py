"""Steps that preserve volume: exactly invertible, and never running away."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cflowtool.flows.translation import Rotation1x1, TranslationCoupling, translation_step

Randomise = Callable[..., nn.Module]
CHANNELS, WIDTH, BOUND = 5, 8, 4.0


@pytest.mark.parametrize("size", [0.0, 1.0, 30.0])
def test_the_matrix_is_a_rotation_whatever_is_learned(size: float, randomised: Randomise) -> None:
    rotation = randomised(Rotation1x1(CHANNELS), size * CHANNELS**0.5)
    matrix = rotation.matrix()
    assert (matrix @ matrix.T - torch.eye(CHANNELS).double()).abs().max() < 1e-12
    assert torch.linalg.det(matrix).item() == pytest.approx(1, abs=1e-12)


def test_it_mixes_the_channels_from_the_start() -> None:
    matrix = Rotation1x1(8, torch.Generator().manual_seed(0)).matrix().detach()
    assert (matrix.abs() < 0.95).all() and matrix.abs().min(1).values.max() < 0.3


def test_the_exponential_of_half_precision_nets_stays_a_rotation_in_fp32() -> None:
    rotation = Rotation1x1(8)
    with torch.autocast("cpu", torch.bfloat16):
        y = torch.randn(2, 8, 6, 6)
        back, _ = rotation.inverse(rotation(y, y)[0], y)
    assert back.dtype == torch.float32 and (back - y).abs().max() < 1e-5


def chain(steps: int, randomised: Randomise, spread: float) -> list[nn.Module]:
    make = translation_step(WIDTH, BOUND)
    return [randomised(make(CHANNELS), spread) for _ in range(steps)]


@pytest.mark.parametrize("size", [1.0, 1e3, 1e6])
def test_no_sample_runs_further_than_its_translations_take_it(size: float, randomised: Randomise) -> None:
    steps = chain(6, randomised, 5.0)
    z, context = torch.randn(3, CHANNELS, 4, 4).double(), size * torch.randn(3, WIDTH, 4, 4).double()
    y: Tensor = z
    for step in reversed(steps):
        y, _ = step.inverse(y, context)
    most = sum(BOUND * step.transforms[1].changed ** 0.5 + step.transforms[0].bias.norm().item() for step in steps)
    assert (y.norm(dim=1) <= z.norm(dim=1) + most + 1e-9).all()
    assert size == 1 or (y - z).norm(dim=1).max() > BOUND


def test_many_steps_of_single_precision_come_back_nearly_exactly(randomised: Randomise) -> None:
    steps = [step.float() for step in chain(32, randomised, 1.0)]
    y, context = torch.randn(2, CHANNELS, 4, 4), torch.randn(2, WIDTH, 4, 4)
    z: Tensor = y
    for step in steps:
        z, _ = step(z, context)
    assert (z - y).abs().max() > 1
    for step in reversed(steps):
        z, _ = step.inverse(z, context)
    assert (z - y).abs().max() < 1e-3


def test_the_coupling_keeps_one_part_and_moves_the_other_by_what_the_kept_part_says(randomised: Randomise) -> None:
    coupling = randomised(TranslationCoupling(CHANNELS, WIDTH, 0.5))
    y, context = (torch.randn(2, c, 4, 4, dtype=torch.float64) for c in (CHANNELS, WIDTH))
    other = y.clone()
    other[:, : coupling.changed].normal_()
    shifts = [(coupling(v, context)[0] - v)[:, : coupling.changed] for v in (y, other)]
    assert torch.equal(coupling(y, context)[0][:, coupling.changed :], y[:, coupling.changed :])
    assert torch.allclose(*shifts, rtol=0, atol=1e-12) and 0.1 < shifts[0].abs().max() < 0.5


def test_the_coupling_starts_as_the_identity() -> None:
    y, context = torch.randn(2, CHANNELS, 4, 4), torch.randn(2, WIDTH, 4, 4)
    assert torch.equal(TranslationCoupling(CHANNELS, WIDTH)(y, context)[0], y)
