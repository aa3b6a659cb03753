"""Whatever library computes it, a convolution is the same, and so are its gradients."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cflowtool.nets.convolution import Conv2d, Fixed, convolve

SHAPES = {
    "1x1 of few images": ((3, 8, 5, 7), (6, 8, 1, 1), 1, 1),
    "1x1 in groups": ((1, 8, 5, 7), (6, 4, 1, 1), 1, 2),
    "1x1 of a large image": ((1, 8, 60, 60), (6, 8, 1, 1), 1, 1),
    "1x1 of a small image": ((1, 8, 4, 4), (6, 8, 1, 1), 1, 1),
    "1x1 strided": ((3, 8, 6, 6), (6, 8, 1, 1), 2, 1),
    "3x3 of a small image with many filters": ((1, 8, 20, 20), (96, 8, 3, 3), 1, 1),
    "3x3 of a small image": ((1, 8, 6, 6), (6, 8, 3, 3), 1, 1),
    "4x4 strided": ((2, 8, 8, 8), (6, 8, 4, 4), 2, 1),
}


@pytest.fixture(params=SHAPES)
def case(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor, Tensor, int, int]:
    x, kernel, stride, groups = SHAPES[request.param]
    generator = torch.Generator().manual_seed(0)
    tensors = (torch.randn(size, generator=generator) for size in (x, kernel, kernel[:1]))
    return *tensors, stride, groups


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("onednn", [True, False])
def test_it_is_torchs_to_rounding(
    case: tuple[Tensor, Tensor, Tensor, int, int], dtype: torch.dtype, onednn: bool
) -> None:
    *tensors, stride, groups = case
    x, kernel, bias = (t.to(dtype) for t in tensors)
    padding = kernel.shape[-1] // 2
    with torch.backends.mkldnn.flags(enabled=onednn), torch.no_grad():
        wanted = F.conv2d(x.double(), kernel.double(), bias.double(), stride, padding, 1, groups)
        found = convolve(x, kernel, bias, (padding, padding), (stride, stride), groups)
    exact = {torch.float32: 2e-5, torch.float64: 1e-12}[dtype]
    assert found.dtype == dtype and torch.allclose(found.double(), wanted, rtol=0, atol=exact)


def test_gradients_are_torchs_to_rounding(case: tuple[Tensor, Tensor, Tensor, int, int]) -> None:
    *tensors, stride, groups = case
    given = [t.requires_grad_() for t in tensors]
    padding = given[1].shape[-1] // 2
    found = convolve(*given, (padding, padding), (stride, stride), groups)
    wanted = F.conv2d(*given, stride, padding, 1, groups)
    for one, other in zip(*(torch.autograd.grad(out.square().sum(), given) for out in (found, wanted)), strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))


def test_the_layer_is_torchs_layer() -> None:
    layer, plain = Conv2d(4, 6, 3, stride=2, padding=1, groups=2), torch.nn.Conv2d(4, 6, 3, 2, 1, groups=2)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(2, 4, 9, 8)
    assert torch.allclose(layer(x), plain(x), atol=1e-6)


def test_networks_in_bf16_stay_in_bf16() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert Conv2d(4, 4, 1)(torch.randn(2, 4, 8, 8)).dtype == torch.bfloat16


THEN = {"none": lambda out: out, "relu": F.relu, "tanh": torch.tanh}


@pytest.mark.parametrize("then", THEN)
@torch.no_grad()
def test_what_comes_after_is_the_same_fixed_and_plain(case: tuple[Tensor, Tensor, Tensor, int, int], then: str) -> None:
    x, kernel, bias, stride, groups = case
    padding = kernel.shape[-1] // 2
    how = (padding, padding), (stride, stride), groups
    fixed = Fixed(kernel, bias, *how)
    wanted = THEN[then](F.conv2d(x, kernel, bias, stride, padding, 1, groups))
    # The second call finds the kernel in oneDNN's order, the third one images of another shape.
    for images in (x, x, x[..., 1:], x):
        found = fixed(images, then)
        assert torch.allclose(found, convolve(images, kernel, bias, *how, then), rtol=0, atol=2e-5)
    assert torch.allclose(found, wanted, rtol=0, atol=2e-5)
    assert torch.equal(found, deepcopy(fixed)(x, then))


def prepared_layer() -> Conv2d:
    layer = Conv2d(4, 6, 3, padding=1, bias=False).eval()
    layer.prepare()
    return layer


@torch.no_grad()
def test_a_prepared_layer_is_itself_and_so_is_its_copy() -> None:
    layer, x, bias = prepared_layer(), torch.randn(2, 4, 9, 8), torch.randn(1, 6, 1, 1)
    wanted = F.conv2d(x, layer.weight, bias.flatten(), padding=1).relu()
    for found in (layer(x, "relu", bias), deepcopy(layer)(x, "relu", bias)):
        assert torch.allclose(found, wanted, atol=1e-6)
    layer.weight.add_(1)
    wanted = F.conv2d(x, layer.weight, padding=1)
    assert torch.allclose(layer(x), wanted, atol=1e-5) and wanted.abs().max() > 1


def test_a_prepared_layer_gives_its_parameters_gradients_where_they_are_wanted() -> None:
    layer = prepared_layer()
    (gradient,) = torch.autograd.grad(layer(torch.randn(2, 4, 5, 5)).square().sum(), [layer.weight])
    assert gradient.any()
