"""The encoders: the layers of the paper's figure, their resolutions, and how far they see."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from cflowtool.nets.convolution import Conv2d
from cflowtool.nets.vgg import VGG, Normalize, SideOutputs, UNet

Randomise = Callable[..., nn.Module]
KINDS = {"vgg": VGG, "unet": UNet, "unet of two blocks": partial(UNet, blocks=2)}
Encoder = VGG | UNet


def encoder(kind: str, norm: str = "none", levels: int = 2, channels: int = 8) -> Encoder:
    torch.manual_seed(0)
    return KINDS[kind](3, channels, levels, norm)


def image(height: int, width: int, batch: int = 1) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1)).double()


def test_the_papers_encoder_has_the_layers_of_its_figure() -> None:
    """Block 1024, max-pool 512, two blocks 512, max-pool 256, two blocks 256 (figure 5), at a 64th of the size."""
    model, layers = encoder("vgg", "instance"), []
    for module in model.modules():
        if isinstance(module, (Normalize, nn.ReLU, nn.Conv2d)):
            module.register_forward_hook(lambda m, args, out: layers.append((type(m), 64 * out.shape[-1])))
    outputs = model.double()(image(16, 16))
    blocks = [layers[i : i + 3] for i in range(0, len(layers), 3)]
    assert [[kind for kind, _ in one] for one in blocks] == 5 * [[Normalize, nn.ReLU, Conv2d]]
    assert [{size for _, size in one} for one in blocks] == [{1024}, {512}, {512}, {256}, {256}]
    assert [64 * out.shape[-1] for out in outputs] == [1024, 512, 256]
    assert {m.kernel_size for m in model.modules() if isinstance(m, nn.Conv2d)} == {(3, 3)}


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_features_come_at_every_resolution_of_every_size_that_fits(kind: str, levels: int) -> None:
    model = encoder(kind, "instance", levels).double()
    unit = model.multiple_of
    for x in (image(unit, unit), image(3 * unit, 2 * unit, 2)):
        features = model(x)
        assert len(features) == levels + 1 == len(model.out_channels)
        for level, (values, channels) in enumerate(zip(features, model.out_channels, strict=True)):
            assert values.shape == (len(x), channels, x.shape[-2] >> level, x.shape[-1] >> level)
            assert torch.isfinite(values).all()


def influence(model: Encoder, level: int) -> Tensor:
    """How much every column of x matters for the last column of the features of a level."""
    unit = model.multiple_of
    x = image(unit, unit * -(-(model.reach + unit) // unit) * 2).requires_grad_()
    (gradient,) = torch.autograd.grad(model(x)[level][..., -1].square().sum(), x)
    return gradient.abs().sum((0, 1, 2))


@pytest.mark.parametrize("kind", KINDS)
def test_without_normalization_nothing_beyond_the_reach_matters(kind: str, randomised: Randomise) -> None:
    model = randomised(encoder(kind), 1.0)
    farthest = 0
    for level in range(3):
        seen = influence(model, level)
        assert not seen[: len(seen) - 2**level - model.reach].any()
        farthest = max(farthest, len(seen) - int(seen.nonzero()[0]))
    assert farthest > model.reach / 3


@pytest.mark.parametrize("norm", ["instance", "group"])
@pytest.mark.parametrize("kind", KINDS)
def test_with_normalization_the_whole_image_matters(kind: str, norm: str, randomised: Randomise) -> None:
    seen = influence(randomised(encoder(kind, norm), 1.0), 2)
    assert seen[0] > 0 and (seen > 0).double().mean() > 0.9


def test_the_finest_features_of_the_unet_have_seen_further_than_the_vggs(randomised: Randomise) -> None:
    vgg, unet = (influence(randomised(encoder(kind), 1.0), 0) for kind in ("vgg", "unet"))
    assert len(vgg) - int(vgg.nonzero()[0]) == 2 and len(unet) - int(unet.nonzero()[0]) > 20


def test_more_blocks_see_further_and_the_parameters_of_one_keep_their_names() -> None:
    one, two = UNet(3, 8, 2, "none"), UNet(3, 8, 2, "none", blocks=2)
    assert two.reach == UNet.reach_of(3, 2) > one.reach == UNet.reach_of(3, 1)
    assert {"first.weight", "down.3.blocks.2.weight", "widen.0.bias", "up.2.blocks.5.bias"} <= {*one.state_dict()}
    own = dict(one.named_parameters())
    assert sum(p.numel() for n, p in two.named_parameters() if ".blocks." in n) == 2 * sum(
        p.numel() for n, p in own.items() if ".blocks." in n
    )


def test_a_deeper_unet_sees_further_and_gives_the_same_levels_of_features() -> None:
    shallow, deep = UNet(3, 8, 2, "none"), UNet(3, 8, 2, "none", depth=5)
    assert deep.out_channels == shallow.out_channels and deep.multiple_of == 32 and deep.reach == UNet.reach_of(5, 1)
    shapes = [tuple(feature.shape) for feature in deep(torch.zeros(1, 3, 64, 32))]
    assert shapes == [(1, 8, 64, 32), (1, 16, 32, 16), (1, 32, 16, 8)]
    assert UNet(3, 8, 2, "none", depth=1).state_dict().keys() == shallow.state_dict().keys()


def test_instance_normalization_makes_mean_and_variance_of_each_channel_those_of_a_standard() -> None:
    values = 5 + 3 * torch.randn(2, 4, 9, 7).double()
    out = Normalize(4, "instance")(values)
    assert out.mean((2, 3)).abs().max() < 1e-9 and (out.var((2, 3), correction=0) - 1).abs().max() < 1e-4


@pytest.mark.parametrize(("channels", "groups"), [(3, 1), (12, 4), (16, 8), (20, 4)])
def test_group_normalization_takes_as_many_groups_as_divide_the_channels(channels: int, groups: int) -> None:
    values = torch.randn(2, channels, 6, 6).double() * torch.arange(1, channels + 1)[:, None, None]
    out = Normalize(channels, "group")(values).view(2, groups, -1)
    assert out.mean(2).abs().max() < 1e-9 and (out.var(2, correction=0) - 1).abs().max() < 1e-4


def test_no_normalization_changes_nothing_and_one_position_becomes_zero() -> None:
    values = torch.randn(2, 4, 1, 1)
    assert torch.equal(Normalize(4, "none")(values), values)
    assert not Normalize(4, "instance")(values).any()


def test_instance_normalization_makes_the_encoder_blind_to_brightness_and_contrast_of_a_channel() -> None:
    model, x = encoder("vgg", "instance").double(), 20 * image(16, 16)
    other = x * torch.tensor([2.0, 3.0, 0.7]).double()[:, None, None] + 4
    for first, second in zip(model(x), model(other), strict=True):
        assert torch.allclose(first, second, rtol=1e-3, atol=1e-3)


def test_side_outputs_are_the_sum_of_the_levels_and_zero_at_the_start(randomised: Randomise) -> None:
    features = tuple(torch.randn(2, c, 16 >> level, 8 >> level).double() for level, c in enumerate((4, 6, 8)))
    side = SideOutputs([4, 6, 8], 1)
    assert not side.double()(features).any()
    out = randomised(side)(features)
    bias = side(tuple(torch.zeros_like(f) for f in features))
    parts = [side(tuple(f if i == j else torch.zeros_like(f) for j, f in enumerate(features))) for i in range(3)]
    assert out.shape == (2, 1, 16, 8) and all((part - bias).abs().max() > 1e-3 for part in parts)
    assert torch.allclose(out, sum(parts) - 2 * bias, rtol=0, atol=1e-12)
