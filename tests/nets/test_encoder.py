"""The encoder's first guess is what its shift says, at any size and scale."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cflowtool.images import bicubic_resize
from cflowtool.nets.encoder import Encoder, Shift


def encoder(scale: int, shift: Shift, growth: int = 0) -> Encoder:
    torch.manual_seed(0)
    return Encoder(scale, 3, 8, 1, growth, shift)


def warmed(scale: int, shift: Shift) -> Encoder:
    net = encoder(scale, shift)
    torch.nn.init.normal_(net.head.conv.weight)
    return net


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("size", [(1, 1), (5, 8)])
@pytest.mark.parametrize("growth", [0, 4])
def test_features_are_at_the_size_of_x_and_guesses_at_that_of_y(scale: int, size: tuple[int, int], growth: int) -> None:
    features, shift, raw = encoder(scale, "mean", growth)(torch.rand(2, 3, *size))
    assert features.shape == (2, 8, *size)
    assert shift.shape == raw.shape == (2, 3, scale * size[0], scale * size[1])


def upsampled(x: Tensor, scale: int) -> Tensor:
    return bicubic_resize(x, (scale * x.shape[-2], scale * x.shape[-1]))


@pytest.mark.parametrize("scale", [2, 4])
def test_the_shift_is_a_half_or_bicubic_whatever_the_network_says(scale: int) -> None:
    x = torch.rand(2, 3, 5, 6)
    assert (warmed(scale, "none")(x)[1] == 0.5).all()
    assert torch.equal(warmed(scale, "bicubic")(x)[1], upsampled(x, scale))
    assert not torch.allclose(warmed(scale, "mean")(x)[1], upsampled(x, scale), atol=1e-3)


def test_a_learned_mean_starts_at_bicubic_and_the_scale_at_its_centre() -> None:
    x = torch.rand(2, 3, 5, 6)
    _, shift, raw = encoder(2, "mean")(x)
    assert torch.equal(shift, upsampled(x, 2)) and not raw.any()


def test_the_guesses_are_fp32_when_the_network_is_not() -> None:
    x = torch.rand(1, 3, 6, 6)
    with torch.autocast("cpu", torch.bfloat16):
        features, shift, raw = warmed(2, "mean")(x)
    assert features.dtype == torch.bfloat16 and shift.dtype == raw.dtype == torch.float32
    assert torch.allclose(shift, warmed(2, "mean")(x)[1], rtol=0.05, atol=0.1)


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("unshuffle", [2, 4])
def test_a_trunk_may_work_on_blocks_of_x(unshuffle: int, depth: int) -> None:
    net = Encoder(1, 3, 8, 1, 0, "mean", in_channels=4, unshuffle=unshuffle, depth=depth)
    x = torch.rand(2, 4, 8, 16)
    features, shift, raw = net(x)
    assert features.shape == (2, 8, 8 // unshuffle, 16 // unshuffle)
    assert torch.equal(shift, x[:, :3]) and raw.shape == shift.shape
    torch.nn.init.normal_(net.head.conv.weight)
    moved = x.clone()
    moved[..., :unshuffle, :unshuffle] += 0.1
    assert (net(moved)[0] - features)[..., 0, 0].abs().max() > 1e-4


def test_a_deep_trunk_starts_at_the_same_guess_and_sees_further(randomised: Callable[..., nn.Module]) -> None:
    x = torch.rand(1, 3, 16, 64).double()
    moved, seen = x.clone(), []
    moved[..., -8:] = 0
    for depth in (0, 3):
        net = Encoder(1, 3, 8, 1, 0, "mean", depth=depth).double()
        features, shift, raw = net(x)
        assert features.shape == (1, 8, 16, 64) and torch.equal(shift, x) and not raw.any()
        randomised(net, 1.0)
        changed = (net(x)[0] != net(moved)[0]).any(1)[0].any(0)
        seen.append(int(changed.nonzero()[0]))
    assert seen[1] < 32 < seen[0]
