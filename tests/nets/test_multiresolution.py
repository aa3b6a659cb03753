"""Features stand at every coarser resolution, and the first guess is what the shift says."""

import pytest
import torch
from torch import Tensor

from cflowtool.nets.encoder import Shift
from cflowtool.nets.multiresolution import MultiResolutionEncoder


def encoder(levels: int = 2, shift: Shift = "mean", inputs: int = 1, warmed: bool = False) -> MultiResolutionEncoder:
    torch.manual_seed(0)
    net = MultiResolutionEncoder(inputs, 2, 8, levels, shift)
    if warmed:
        torch.nn.init.normal_(net.head.conv.weight)
    return net


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_features_are_as_wide_at_every_resolution(levels: int) -> None:
    net = encoder(levels)
    height, width = net.multiple_of, 2 * net.multiple_of
    features, shift, raw = net(torch.rand(3, 1, height, width))
    assert [tuple(f.shape) for f in features] == [(3, 8, height >> n, width >> n) for n in range(1, levels + 1)]
    assert shift.shape == raw.shape == (3, 2, height, width)


def test_the_guess_starts_at_a_half_or_the_first_channels_of_x() -> None:
    x = torch.rand(2, 3, 8, 8)
    _, shift, raw = encoder(inputs=3)(x)
    assert torch.equal(shift, x[:, :2]) and not raw.any()
    _, shift, raw = encoder()(x[:, :1])
    assert (shift == 0.5).all() and not raw.any()


def test_only_a_learned_mean_moves_the_guess() -> None:
    x = torch.rand(1, 1, 8, 8)
    assert (encoder(shift="none", warmed=True)(x)[1] == 0.5).all()
    assert (encoder(warmed=True)(x)[1] - 0.5).abs().max() > 1e-3


def test_the_guesses_are_fp32_when_the_network_is_not() -> None:
    x = torch.rand(1, 1, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        features, shift, raw = encoder(warmed=True)(x)
    assert {f.dtype for f in features} == {torch.bfloat16} and shift.dtype == raw.dtype == torch.float32


@pytest.mark.parametrize("output", ["features", "guess"])
def test_nothing_beyond_its_reach_matters(output: str) -> None:
    net = encoder(1, warmed=True).double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    length = -(-(net.reach + 6) // net.multiple_of) * net.multiple_of
    x = torch.rand(1, 1, net.multiple_of, length, dtype=torch.float64, requires_grad=True)
    features, shift, raw = net(x)
    found: list[Tensor] = list(features) if output == "features" else [shift, raw]
    (gradient,) = torch.autograd.grad(sum(f[..., -1].sum() for f in found), x)
    assert gradient[..., -1].any() and not gradient[..., : length - 1 - net.reach].any()
