"""What every task promises: a new one is one more line of OPTIONS."""

import inspect

import pytest
import torch
from torch import Tensor

from cflowtool.images import quantise
from cflowtool.tasks import TASKS, Task

OPTIONS: dict[str, list[dict[str, object]]] = {"super-resolve": [{"scale": 2}, {"scale": 4}]}
CASES = [(name, options) for name, list_of in OPTIONS.items() for options in list_of]


@pytest.fixture(params=CASES, ids=str)
def task(request: pytest.FixtureRequest) -> Task:
    name, options = request.param
    return TASKS[name](**options)


def image(height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return quantise(torch.rand(1, 3, height, width, generator=generator))


def test_every_task_is_held_to_the_contract_under_its_own_name() -> None:
    assert {*OPTIONS} == {*TASKS} and all(kind.name == name for name, kind in TASKS.items())
    assert not any(inspect.isabstract(kind) for kind in TASKS.values()) and inspect.isabstract(Task)


@pytest.mark.parametrize("size", [(32, 48), (16, 16)])
def test_a_pair_assembles_to_the_truth(task: Task, size: tuple[int, int]) -> None:
    truth = image(*size)
    assert torch.equal(task.assemble(*task.pair(truth, torch.Generator().manual_seed(0))), truth)


def test_a_pair_is_the_generators(task: Task) -> None:
    first, same = (task.pair(image(16, 16), torch.Generator().manual_seed(3)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))


def test_the_images_of_a_batch_are_each_their_own(task: Task) -> None:
    both = torch.cat([image(16, 16, seed) for seed in (0, 1)])
    for result, alone in zip(task.pair(both), task.pair(both[1:]), strict=True):
        assert torch.allclose(result[1:], alone, rtol=0, atol=1e-6)


def test_the_baseline_is_an_image_of_the_size_of_the_truth(task: Task) -> None:
    x, y = task.pair(image(32, 48))
    assert task.baseline(x).shape == y.shape


def test_the_metrics_of_the_truth_are_perfect_and_of_noise_worse(task: Task) -> None:
    truth, noise = image(32, 48), image(32, 48, 1)
    perfect, poor = task.metrics(truth, truth), task.metrics(noise, truth)
    assert perfect.keys() == poor.keys() and perfect["psnr"] == 100 and poor["psnr"] < 15
    assert perfect["ssim"] == pytest.approx(1) and poor["ssim"] < 0.2
