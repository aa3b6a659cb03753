"""The storeys: weight-normalised, each added to the one below, each channel scaled and shifted after each block."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import is_parametrized

from cflowtool.images import bicubic_resize
from cflowtool.nets.mapping import MappingNet
from cflowtool.nets.tower import TowerInputs, TowerModule, answer_zero, weight_normalise


def module(mapping: bool = True, normalised: bool = True, lower: int = 6) -> TowerModule:
    torch.manual_seed(0)
    net = MappingNet(4, 8, 2, 2 * 2 * 8) if mapping else None
    return TowerModule(2, lower, 8, 4, 2, 3, net, normalised).double()


def inputs(
    batch: int = 2, side: int = 4, below: bool = True
) -> tuple[Tensor, list[Tensor], tuple[Tensor, Tensor] | None]:
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, generator=generator, dtype=torch.float64)

    lower = (draw(6, side // 2, side // 2), draw(3, side // 2, side // 2)) if below else None
    return draw(8, side, side), [draw(2, side, side), draw(4, 1, 1)], lower


def loud(net: TowerModule) -> TowerModule:
    """The module with a head that is not zero any more."""
    head = net.head.parametrizations.weight.original0 if is_parametrized(net.head) else net.head.weight
    nn.init.constant_(head, 0.3)
    return net


@pytest.mark.parametrize("normalised", [True, False])
def test_weight_normalisation_changes_no_kernel_but_what_it_is_made_of(normalised: bool) -> None:
    conv = nn.Conv2d(3, 5, 3)
    before = conv.weight.detach().clone()
    if normalised:
        weight_normalise(conv)
        length, direction = conv.parametrizations.weight.original0, conv.parametrizations.weight.original1
        assert length.shape == (5, 1, 1, 1) and torch.allclose(length.flatten(), before.flatten(1).norm(dim=1))
        direction.data.mul_(7)
    assert torch.allclose(conv.weight, before, atol=1e-6)
    answer_zero(conv)
    assert not conv(torch.randn(1, 3, 4, 4)).any()


def test_every_convolution_but_the_mapping_networks_dense_layers_is_normalised() -> None:
    net = module()
    spatial = [conv for conv in net.modules() if isinstance(conv, nn.Conv2d) and conv.kernel_size == (3, 3)]
    assert len(spatial) == 4 + 2 * 15 and all(is_parametrized(conv, "weight") for conv in spatial)
    assert not any(is_parametrized(layer) for layer in net.mapping.modules() if isinstance(layer, nn.Conv2d))
    assert not any(is_parametrized(conv) for conv in module(normalised=False).modules())


def test_it_starts_by_answering_what_the_module_below_did() -> None:
    hidden, codes, below = inputs()
    _, answer = module()(hidden, codes, below)
    assert torch.equal(answer, bicubic_resize(below[1], (4, 4)))
    _, lowest = module(lower=0)(hidden, codes, None)
    assert not lowest.any()


def test_its_first_convolution_is_linear_in_x_code_and_features_below() -> None:
    net, (hidden, codes, below) = module(mapping=False), inputs()
    joined = torch.cat((codes[0], F.interpolate(below[0], scale_factor=2.0)), 1)
    seen: list[Tensor] = []
    net.blocks[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    net(hidden, codes[:1], below)
    assert torch.allclose(seen[0], hidden + F.conv2d(joined, net.from_drawn.weight, padding=1))


def test_each_block_is_followed_by_its_scale_and_offset() -> None:
    net, (hidden, codes, below) = module(), inputs()
    seen: list[tuple[Tensor, Tensor]] = []
    for block in net.blocks:
        block.register_forward_hook(lambda _, given, out: seen.append((given[0], out)))
    last: list[Tensor] = []
    net.last.register_forward_pre_hook(lambda _, given: last.append(given[0]))
    net(hidden, codes, below)
    styles = net.mapping(codes[1]).view(2, 2, 2, 8, 1, 1)
    after = [(1 + styles[:, k, 0]) * out + styles[:, k, 1] for k, (_, out) in enumerate(seen)]
    assert torch.allclose(after[0], seen[1][0]) and torch.allclose(after[1], last[0])
    plain = module(mapping=False)
    assert not any("mapping" in name for name, _ in plain.named_parameters())


@pytest.mark.parametrize("part", [0, 1, "features"])
def test_codes_vector_and_features_below_all_matter(part: int | str) -> None:
    net, (hidden, codes, below) = loud(module()), inputs()
    first = net(hidden, codes, below)[1]
    changed = [code + (k == part) for k, code in enumerate(codes)]
    lower = (below[0] + 1, below[1]) if part == "features" else below
    assert (net(hidden, changed, lower)[1] - first).abs().max() > 1e-4


@pytest.mark.parametrize(("scale", "modules", "side"), [(1, 3, 8), (2, 2, 3), (16, 4, 1), (4, 1, 5)])
@torch.no_grad()
def test_inputs_are_x_at_every_resolution_up_to_that_of_y(scale: int, modules: int, side: int) -> None:
    net = TowerInputs(scale, 3, 3, modules * [5], True).double()
    x = torch.rand(2, 3, side, 2 * side, dtype=torch.float64)
    parts, sizes = net(x), net.sizes(side, 2 * side)
    assert sizes[-1] == (scale * side, 2 * scale * side)
    assert all(high == (2 * low[0], 2 * low[1]) for low, high in pairwise(sizes))
    for k, size in enumerate(sizes):
        resized = x if size == x.shape[-2:] else bicubic_resize(x, size)
        assert torch.equal(parts[2 * k], resized)
        assert torch.allclose(parts[2 * k + 1], net.convs[k](resized - 0.5))


def test_an_x_that_is_no_picture_of_y_is_replaced_by_grey() -> None:
    parts = TowerInputs(1, 1, 2, [5, 5], False)(torch.rand(1, 1, 4, 4))
    assert (parts[0] == 0.5).all() and parts[0].shape == (1, 2, 2, 2) and parts[2].shape == (1, 2, 4, 4)
