"""The conditioning networks: their sizes, what they see, and that a start at zero still learns."""

import pytest
import torch

from cflowtool.nets.conditioning import Conditioner, FeatureNet, LevelNeeds, ParameterNet, downscale
from cflowtool.nets.prepared import Preparable


@pytest.mark.parametrize("stride", [2, 4, 8, 16])
def test_a_downscaling_convolution_divides_the_size_and_sees_all_of_it(stride: int) -> None:
    conv = downscale(1, 1, stride)
    x = torch.rand(1, 1, 32, 48, requires_grad=True)
    out = conv(x)
    assert out.shape[-2:] == (32 // stride, 48 // stride)
    assert conv.kernel_size[0] == 2 * conv.padding[0] + conv.stride[0]
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert (gradient != 0).all()


@pytest.mark.parametrize("size", [(16, 24), None])
def test_the_parameters_start_at_zero_and_soon_every_weight_learns(size: tuple[int, int] | None) -> None:
    torch.manual_seed(0)
    net, x = ParameterNet(3, 4, 8, 5, size), torch.rand(6, 3, 16, 24)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    assert net(x).shape == (6, 5, 1, 1) and not net(x).any()
    for _ in range(2):
        optimizer.zero_grad()
        (net(x) - 1).square().sum().backward()
        optimizer.step()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in net.parameters())


def test_a_network_of_zeros_in_every_layer_learns_its_last_bias_alone() -> None:
    net, x = ParameterNet(3, 4, 8, 5, (16, 16)), torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (net(x) - 1).square().sum().backward()
        optimizer.step()
    assert {name for name, p in net.named_parameters() if p.grad is not None and p.grad.any()} == {"last.bias"}


def test_every_pixel_of_x_counts_for_the_whole_image_and_only_those_around_it_for_a_map() -> None:
    torch.manual_seed(0)
    parameters, features = ParameterNet(1, 16, 32, 4, (32, 32)), FeatureNet(1, 8, 4, 3)
    torch.nn.init.normal_(parameters.last.weight)
    x = torch.rand(1, 1, 32, 32, requires_grad=True)
    (seen,) = torch.autograd.grad(parameters(x).square().sum(), x)
    assert (seen != 0).double().mean() > 0.99
    (near,) = torch.autograd.grad(features(x)[..., 0, 0].square().sum(), x)
    reach = 4 * 2 + 4 + 1 + 1  # two 3x3 convolutions at 1/4 of the size, the downscaling one and the first
    assert near[..., :8, :8].any() and not near[..., reach:, :].any() and not near[..., reach:].any()


def test_other_sizes_are_refused_by_the_connected_layers_and_welcome_when_pooled() -> None:
    fixed, pooled = ParameterNet(3, 4, 8, 5, (16, 16)), ParameterNet(3, 4, 8, 5, None)
    for height, width in ((8, 16), (40, 24)):
        assert pooled(torch.rand(2, 3, height, width)).shape == (2, 5, 1, 1)
    with pytest.raises(RuntimeError):
        fixed(torch.rand(2, 3, 8, 16))


def test_the_conditioner_gives_vectors_and_maps_level_after_level_in_their_order() -> None:
    needs = [LevelNeeds([2, 3], [4, 4], 2), LevelNeeds([5], [4], 4)]
    conditioner = Conditioner(1, needs, 4, 8, 4, (16, 16))
    for level in conditioner.vectors:
        for net in level:
            torch.nn.init.normal_(net.last.weight)
    x = torch.rand(3, 1, 16, 16)
    found = conditioner.eval()(x)
    first = [(3, 5, 1, 1), (3, 4, 8, 8), (3, 4, 8, 8)]
    assert [tuple(part.shape) for part in found] == [*first, (3, 5, 1, 1), (3, 4, 4, 4)]
    assert torch.equal(found[0][:, 2:], conditioner.vectors[0][1](x))
    assert torch.equal(found[2], conditioner.maps[0][1](x))


def test_training_gets_the_features_that_the_heads_make_the_same_maps_of() -> None:
    torch.manual_seed(0)
    conditioner, x = Conditioner(1, [LevelNeeds([2], [4, 6], 2)], 4, 8, 5, (16, 16)), torch.rand(2, 1, 16, 16)
    _, *maps = conditioner.eval()(x)
    _, *features = conditioner.train()(x)
    assert all(part.shape == (2, 5, 8, 8) for part in features)
    for head, part, wanted in zip(conditioner.heads()[0], features, maps, strict=True):
        assert torch.equal(head(part), wanted)


@pytest.mark.parametrize("size", [(16, 24), None])
@pytest.mark.parametrize("batch", [1, 3])
@torch.no_grad()
def test_networks_together_are_the_same_as_apart_until_a_parameter_changes(
    size: tuple[int, int] | None, batch: int
) -> None:
    torch.manual_seed(0)
    needs = [LevelNeeds([2, 3, 2], [4], 2), LevelNeeds([5, 4], [4], 4)]
    conditioner, x = Conditioner(3, needs, 4, 8, 4, size).eval(), torch.rand(batch, 3, 16, 24)
    for level in conditioner.vectors:
        for net in level:
            torch.nn.init.normal_(net.last.weight)
    for _ in range(2):
        apart = conditioner(x)
        for module in reversed(list(conditioner.modules())):
            if isinstance(module, Preparable):
                module.prepare()
        for found, wanted in zip(conditioner(x), apart, strict=True):
            assert found.shape == wanted.shape and torch.allclose(found, wanted, rtol=1e-5, atol=1e-6)
        conditioner.vectors[0][1].first.weight.mul_(2)
        assert not torch.allclose(conditioner(x)[0], apart[0])
