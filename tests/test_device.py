"""Devices."""

import pytest
import torch

from cflowtool.device import choose_device, exact, fetch, pinned, to_device
from cflowtool.errors import UsageError

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


def test_auto_is_a_device_that_computes() -> None:
    assert float(torch.ones(3, device=choose_device("auto")).sum()) == 3


@pytest.mark.parametrize("name", ["tpu", "", "cuda:99"])
def test_a_device_that_is_not_there_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError):
        choose_device(name)


LAYOUTS = [torch.preserve_format, torch.channels_last]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_on_a_cpu_nothing_is_copied_that_lies_there_already(layout: torch.memory_format) -> None:
    values = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    cpu = torch.device("cpu")
    assert to_device(values, cpu, layout) is values and pinned(values, cpu) is values
    assert fetch([values, values])()[1] is values and fetch([])() == []


def test_layouts_are_those_asked_for() -> None:
    values = torch.randn(2, 3, 4, 5)
    moved = to_device(values, torch.device("cpu"), torch.channels_last)
    assert torch.equal(moved, values) and moved.is_contiguous(memory_format=torch.channels_last)


def test_a_gpu_is_asked_for_whole_fp32_and_left_as_it_was() -> None:
    cudnn = torch.backends.cudnn
    before = cudnn.conv.fp32_precision
    with exact(torch.device("cpu")):
        assert cudnn.conv.fp32_precision == before
    with pytest.raises(KeyError), exact(torch.device("cuda")):
        assert cudnn.conv.fp32_precision == "ieee"
        raise KeyError
    assert cudnn.conv.fp32_precision == before == "tf32"


@needs_cuda
@pytest.mark.parametrize("layout", LAYOUTS)
def test_there_and_back_again_on_a_gpu(layout: torch.memory_format) -> None:
    cuda, back = torch.device("cuda"), []
    images = [torch.randn(4, 3, 256, 256) for _ in range(8)]
    for image in images:
        moved = to_device(image, cuda, layout)
        assert layout is torch.preserve_format or moved.is_contiguous(memory_format=layout)
        back.append(fetch([moved * 2, moved.sum((1, 2, 3))]))
        # What is freed is taken at once, and written over.
        torch.full_like(moved, torch.nan)
    for image, wait in zip(images, back, strict=True):
        doubled, total = wait()
        assert doubled.device.type == "cpu" and torch.equal(doubled, 2 * image)
        assert torch.allclose(total, image.sum((1, 2, 3)), rtol=1e-3, atol=1e-1)


@needs_cuda
def test_a_gpu_convolves_in_fp32() -> None:
    x, weight = torch.randn(1, 256, 32, 32).cuda(), torch.randn(256, 256, 3, 3).cuda()
    wanted = torch.conv2d(x.double(), weight.double())
    with exact(x.device):
        error = (torch.conv2d(x, weight) - wanted).abs().max() / wanted.abs().max()
    assert error < 1e-5
