"""What every task promises: a new one is one more line of OPTIONS."""

import inspect

import pytest
import torch
from torch import Tensor

from cflowtool.images import quantise
from cflowtool.tasks import TASKS, Task
from cflowtool.tasks.colorize import Colorize

OPTIONS: dict[str, list[dict[str, object]]] = {
    "super-resolve": [{"scale": 2}, {"scale": 4}, {"scale": 16}],
    "denoise": [{}, {"sigma": 25}],
    "colorize": [{}, {"side": 192}],
    "inpaint": [{"mask": "centre"}, {"mask": "strokes"}, {}, {"mask": "any", "fill": "pyramid"}],
    "decompress": [{}, {"quality": [5, 60]}],
    "segment": [{}, {"channels": 3, "side": 32}],
    "segment-vessels": [{}, {"augment": True}, {"even": True}],
}
WRONG: dict[str, list[dict[str, object]]] = {
    "colorize": [{"side": 0}, {"side": 8}, {"side": True}, {"side": "large"}, {"side": 99.5}],
    "denoise": [
        {"sigma": -1},
        {"sigma": [50, 5]},
        {"sigma": [5]},
        {"sigma": "25"},
        {"sigma": 1e9},
        {"sigma": True},
        {"grey": 2},
    ],
    "inpaint": [{"mask": "corner"}, {"fill": "white"}],
    "decompress": [{"quality": 0}, {"quality": [10, 101]}],
    "segment": [{"channels": 2}, {"side": 0}, {"side": "large"}],
    "segment-vessels": [{"augment": "often"}, {"even": 1}],
}
CASES = [(name, options) for name, list_of in OPTIONS.items() for options in list_of]


@pytest.fixture(params=CASES, ids=str)
def task(request: pytest.FixtureRequest) -> Task:
    name, options = request.param
    return TASKS[name](**options)


def truth_of(task: Task, height: int, width: int, seed: int = 0) -> Tensor:
    """A photograph of noise and, for each mask, random pixels of it."""
    generator = torch.Generator().manual_seed(seed)
    photo = quantise(torch.rand(1, 3, height, width, generator=generator))
    masks = (torch.rand(1, len(task.masks), height, width, generator=generator) < 0.7).float()
    return torch.cat((photo, masks), 1)


def test_every_task_is_held_to_the_contract_under_its_own_name() -> None:
    assert {*OPTIONS} == {*TASKS} and all(kind.name == name for name, kind in TASKS.items())
    assert not any(inspect.isabstract(kind) for kind in TASKS.values()) and inspect.isabstract(Task)


@pytest.mark.parametrize(("name", "options"), [(name, each) for name, list_of in WRONG.items() for each in list_of])
def test_options_are_checked(name: str, options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        TASKS[name](**options)


@pytest.mark.parametrize("size", [(32, 48), (16, 16)])
def test_a_pair_assembles_to_the_truth(task: Task, size: tuple[int, int]) -> None:
    truth = truth_of(task, *size)
    found, wanted = task.assemble(*task.pair(truth, torch.Generator().manual_seed(0))), truth[:, 3:4]
    if isinstance(task, Colorize):
        assert found.shape == truth.shape and (found - truth).abs().max() < 10 / 256
    else:
        assert torch.equal(found, wanted if task.masks else truth)


def test_x_and_y_have_the_channels_and_levels_that_the_task_says(task: Task) -> None:
    x, y = task.pair(truth_of(task, 32, 48))
    assert x.shape == (1, task.x_channels, 32 // task.scale, 48 // task.scale) and x.dtype == torch.float32
    assert y.shape == (1, task.y_channels, 32, 48) and y.dtype == torch.float32
    assert x.min() >= 0 and x.max() <= 1 and task.levels in (2, 256)
    assert torch.equal(y, y.round() if task.levels == 2 else quantise(y))


def test_x_of_a_user_is_x_of_a_pair(task: Task) -> None:
    x, _ = task.pair(truth_of(task, 32, 48))
    again = task.condition(x[:, :3].expand(-1, 3, -1, -1), x[:, 3:4] if task.name == "inpaint" else None)
    if task.whole:
        assert again.shape[1] == task.x_channels and max(again.shape) == 540
    else:
        assert again.shape == x.shape and torch.equal(again[:, :3], x[:, :3])


def test_a_pair_is_the_generators(task: Task) -> None:
    first, same = (task.pair(truth_of(task, 16, 16), torch.Generator().manual_seed(3)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))


@pytest.mark.parametrize("seed", [None, 5])
def test_the_images_of_a_batch_are_each_their_own(task: Task, seed: int | None) -> None:
    def source() -> torch.Generator | None:
        return None if seed is None else torch.Generator().manual_seed(seed)

    both = torch.cat([truth_of(task, 16, 16, seed) for seed in (0, 1)])
    kept = slice(1, 2) if seed is None else slice(0, 1)
    for result, alone in zip(task.pair(both, source()), task.pair(both[kept], source()), strict=True):
        assert torch.allclose(result[kept], alone, rtol=0, atol=1e-6)


def test_samples_of_one_x_are_assembled_each_as_if_alone(task: Task) -> None:
    x, y = task.pair(truth_of(task, 16, 16))
    samples = torch.cat([y, y.flip(-1), y.flip(-2)])
    alone = torch.cat([task.assemble(x, one[None]) for one in samples])
    assert torch.equal(task.assemble(x, samples), alone)


def test_the_baseline_is_an_image_of_the_size_of_the_truth(task: Task) -> None:
    x, y = task.pair(truth_of(task, 32, 48))
    base, picture = task.baseline(x), task.assemble(x, y)
    assert base.shape == picture.shape and base.dtype == picture.dtype and base.isfinite().all()


def test_a_result_degraded_again_is_compared_at_the_size_of_x(task: Task) -> None:
    x, y = task.pair(truth_of(task, 32, 48))
    error = task.degraded_error(x, task.assemble(x, torch.cat((y, y))))
    assert error.shape[0] == 2 and error.shape[2:] == x.shape[2:] and torch.equal(error[0], error[1])


def test_the_metrics_of_the_truth_are_perfect_and_of_another_worse(task: Task) -> None:
    (x, y), (other_x, other_y) = (task.pair(truth_of(task, 48, 64, seed)) for seed in (0, 1))
    truth, other = task.assemble(x, y), task.assemble(other_x, other_y)
    within = task.within(x, truth_of(task, 48, 64))
    perfect, poor = task.metrics(truth, truth, within), task.metrics(other, truth, within)
    best = {"psnr": 100, "psnr_hole": 100, "ssim": 1, "iou": 1, "max_f": 1}
    assert perfect.keys() == poor.keys() and perfect.keys() & best.keys()
    for key in perfect.keys() & best.keys():
        assert perfect[key] == pytest.approx(best[key]) and poor[key] < 0.9 * best[key]


def test_what_is_too_small_is_not_measured(task: Task) -> None:
    assert task.measurable(64, 64) and (task.masks or not task.measurable(10, 64))
