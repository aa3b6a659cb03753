"""Training repeats itself: from the same seed, and across an interruption."""

import math
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

pytest.importorskip("accelerate")

from accelerate.state import AcceleratorState

from cflowtool import checkpoint
from cflowtool.dataset import held_out
from cflowtool.errors import Diverged, RecipeError, UsageError
from cflowtool.flows.actnorm import ActNorm
from cflowtool.models import Sampler, SizeRule
from cflowtool.recipes import Recipe
from cflowtool.trainer import Trainer, TrainOptions, check_crop

MODEL = {"levels": 1, "steps": 2, "width": 4, "trunk_channels": 4, "blocks": 1, "growth": 0, "shift": "mean"}
TRAIN = {"steps": 6, "batch": 2, "crop": 8, "warm_up": 2, "ema": 0.5, "precision": "fp32", "seed": 3}


def recipe(mean_steps: int = 0, **changes: Any) -> Recipe:
    config = {**MODEL, "mean_weight": 20.0 if mean_steps else 0.0}
    return Recipe.model_validate(
        {
            "name": "tiny",
            "task": {"name": "super-resolve", "options": {"scale": 2}},
            "model": {"name": "cnf", "config": config},
            "train": {**TRAIN, "mean_steps": mean_steps, **changes},
        }
    )


@pytest.fixture(autouse=True)
def fresh_accelerator() -> Iterator[None]:
    """Accelerate keeps its precision for the life of a process."""
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    names = [name for name in map("{}.png".format, range(20)) if not held_out(Path(name))][:4]
    for seed, name in enumerate(names):
        coarse = np.random.default_rng(seed).integers(0, 256, (6, 5, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((20, 24), Image.Resampling.BICUBIC).save(folder / name)
    return folder


def trainer(made: Recipe, photos: Path, out: Path, **options: Any) -> Trainer:
    events: list[dict[str, Any]] = options.pop("events", [])
    device = options.pop("device", "cpu")
    return Trainer(made, TrainOptions(data=[photos], out=out, device=device, **options), events.append)


def state_of(run: Trainer) -> dict[str, Tensor]:
    parts = {"model": run.model, "ema": run.ema}
    return {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}


def assert_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys() and [k for k in first if not torch.equal(first[k], second[k])] == []


@pytest.mark.parametrize("mean_steps", [0, 2, 4])
def test_an_interrupted_run_ends_where_a_straight_one_does(mean_steps: int, photos: Path, tmp_path: Path) -> None:
    straight = trainer(recipe(mean_steps), photos, tmp_path / "straight")
    straight.run()
    first = trainer(recipe(mean_steps), photos, tmp_path / "parts")
    for _ in range(3):
        first.step()
    first.save()
    second = trainer(recipe(mean_steps), photos, tmp_path / "parts", resume=True)
    assert second.state.step == 3
    second.run()
    assert_equal(state_of(second), state_of(straight))
    assert_equal(checkpoint.read(tmp_path / "parts" / checkpoint.NAME)[0],
                 checkpoint.read(tmp_path / "straight" / checkpoint.NAME)[0])  # fmt: skip


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(photos: Path, tmp_path: Path) -> None:
    runs = [trainer(recipe(seed=seed), photos, tmp_path / str(i)) for i, seed in enumerate((3, 3, 4))]
    losses = [[run.step()["loss"] for _ in range(3)] for run in runs]
    assert losses[0] == losses[1] != losses[2]
    assert_equal(state_of(runs[0]), state_of(runs[1]))


def test_a_run_moves_the_weights_and_the_average_follows(photos: Path, tmp_path: Path) -> None:
    run = trainer(recipe(), photos, tmp_path)
    run.step()
    before = {key: value.clone() for key, value in run.model.state_dict().items()}
    run.step()
    after, average = run.model.state_dict(), run.averaged().state_dict()
    moved = [key for key in after if after[key].dtype.is_floating_point and not torch.equal(after[key], before[key])]
    assert len(moved) > 20
    assert all(torch.allclose(average[key], (before[key] + after[key]) / 2, atol=1e-6) for key in moved)


def test_the_average_forgets_the_steps_before_the_likelihood(photos: Path, tmp_path: Path) -> None:
    run = trainer(recipe(mean_steps=2), photos, tmp_path)
    for _ in range(3):
        run.step()
    assert_equal(run.averaged().state_dict(), run.model.state_dict())
    run.step()
    average, model = run.averaged().state_dict(), run.model.state_dict()
    assert not torch.equal(average["encoder.trunk.first.weight"], model["encoder.trunk.first.weight"])


def test_the_average_is_initialised_as_the_model_is(photos: Path, tmp_path: Path) -> None:
    model = trainer(recipe(mean_steps=2), photos, tmp_path).run()
    assert not model.training
    assert all(bool(part.initialised) for part in model.modules() if isinstance(part, ActNorm))


def test_the_first_steps_train_the_mean_alone(photos: Path, tmp_path: Path) -> None:
    run = trainer(recipe(mean_steps=2), photos, tmp_path)
    flow = {key: value.clone() for key, value in run.model.pyramid.state_dict().items()}
    assert [run.step()["warm"] for _ in range(2)] == [1, 1]
    assert_equal(flow, run.model.pyramid.state_dict())
    assert run.step()["warm"] == 0
    assert all(bool(part.initialised) for part in run.model.modules() if isinstance(part, ActNorm))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run_and_costs_nothing(value: float, photos: Path, tmp_path: Path) -> None:
    run = trainer(recipe(), photos, tmp_path)
    for _ in range(2):
        run.step()
    run.save()
    before, loss = {key: tensor.clone() for key, tensor in state_of(run).items()}, run.model.loss
    run.model.loss = lambda *arguments: loss(*arguments) * value
    with pytest.raises(Diverged, match="step 2"):
        run.run()
    found = checkpoint.newest(tmp_path)
    assert found is not None and found[1].step == 2
    assert_equal(state_of(run), before)


def test_a_folder_with_a_run_in_it_is_never_begun_anew(photos: Path, tmp_path: Path) -> None:
    trainer(recipe(), photos, tmp_path, steps=1).run()
    with pytest.raises(UsageError):
        trainer(recipe(), photos, tmp_path)
    with pytest.raises(UsageError):
        trainer(recipe(mean_steps=2), photos, tmp_path, resume=True)


def test_resuming_nothing_begins_and_resuming_the_end_ends(photos: Path, tmp_path: Path) -> None:
    first = trainer(recipe(), photos, tmp_path, resume=True, steps=2)
    first.run()
    again = trainer(recipe(), photos, tmp_path, resume=True, steps=2)
    again.run()
    assert again.state.step == first.state.step == 2
    assert_equal(state_of(again), state_of(first))


def test_a_run_tells_every_step(photos: Path, tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    trainer(recipe(), photos, tmp_path, events=events).run()
    steps = [event for event in events if event["event"] == "train"]
    assert [event["step"] for event in steps] == [1, 2, 3, 4, 5, 6] and {event["steps"] for event in steps} == {6}
    assert all(math.isfinite(event["loss"]) and event["gradient_norm"] > 0 for event in steps)


def test_the_time_is_a_limit_as_well(photos: Path, tmp_path: Path) -> None:
    run = trainer(recipe(), photos, tmp_path, max_seconds=0.0)
    run.run()
    assert run.state.step == 0 and checkpoint.newest(tmp_path) is not None


def test_a_start_from_other_weights_takes_what_fits(photos: Path, tmp_path: Path) -> None:
    given_run = trainer(recipe(), photos, tmp_path / "a")
    given_run.step()
    tensors = {**given_run.model.state_dict(), "project.0.bias": torch.ones(1), "unknown": torch.ones(1)}
    started = trainer(recipe(seed=9), photos, tmp_path / "b", start_from=tensors)
    assert started.started_from == len(started.model.state_dict()) - 1
    assert torch.equal(started.model.encoder.trunk.first.weight, given_run.model.encoder.trunk.first.weight)


def test_a_mean_that_the_model_has_not_is_a_recipe_error(photos: Path, tmp_path: Path) -> None:
    made = recipe(mean_steps=2)
    made.model.config.update(shift="bicubic")
    with pytest.raises(RecipeError, match="mean_steps"):
        trainer(made, photos, tmp_path).step()


def test_leftovers_of_killed_runs_are_removed_and_a_damaged_checkpoint_is_said(photos: Path, tmp_path: Path) -> None:
    first = trainer(recipe(), photos, tmp_path)
    for _ in range(2):
        first.step()
        first.save()
    left = tmp_path / ".cflow-0123456789abcdef.part"
    left.touch()
    (tmp_path / checkpoint.NAME).write_bytes(b"")
    events: list[dict[str, Any]] = []
    again = trainer(recipe(), photos, tmp_path, resume=True, events=events)
    assert again.state.step == 1 and not left.exists()
    assert [event["event"] for event in events] == ["note"] and "step 1" in events[0]["text"]


def test_an_interrupt_ends_the_run_between_two_steps_with_its_state_saved(photos: Path, tmp_path: Path) -> None:
    def interrupt(event: dict[str, Any]) -> None:
        if event.get("step") == 2:
            signal.raise_signal(signal.SIGINT)

    told = TrainOptions(data=[photos], out=tmp_path / "parts", device="cpu")
    # A shell starts what it puts into the background deaf to interrupts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt):
        Trainer(recipe(), told, interrupt).run()
    signal.signal(signal.SIGINT, before)
    resumed = trainer(recipe(), photos, tmp_path / "parts", resume=True)
    assert resumed.state.step == 2
    resumed.run()
    straight = trainer(recipe(), photos, tmp_path / "straight")
    straight.run()
    assert_equal(state_of(resumed), state_of(straight))


def test_a_run_cut_short_by_time_still_trains_the_flow(photos: Path, tmp_path: Path) -> None:
    run = trainer(recipe(mean_steps=3, steps=100_000), photos, tmp_path, max_seconds=1.5)
    run.run()
    assert run.progress == 1.0 and not run.state.warm


def test_crops_that_do_not_fit_the_model_are_a_recipe_error(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError):
        trainer(recipe(crop=9), photos, tmp_path)


@pytest.mark.parametrize(
    ("fixed", "crop", "hint"), [((8, 8), 16, ""), ((8, 8), 32, "16 x 16"), ((8, 16), 16, "16 x 32"), (None, 12, "of 8")]
)
def test_a_model_of_a_fixed_size_is_trained_on_that(fixed: tuple[int, int] | None, crop: int, hint: str) -> None:
    model = Sampler()
    model.size, model.scale = SizeRule(multiple_of=4, fixed=fixed), 2
    if hint:
        with pytest.raises(RecipeError) as caught:
            check_crop(model, crop)
        assert hint in caught.value.hint
    else:
        check_crop(model, crop)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("recompute", [False, True])
def test_a_gpu_takes_the_steps_that_the_cpu_takes(recompute: bool, photos: Path, tmp_path: Path) -> None:
    runs = [trainer(recipe(recompute=recompute), photos, tmp_path / name, device=name) for name in ("cpu", "cuda")]
    for _ in range(4):
        cpu, gpu = (run.step() for run in runs)
        assert gpu["loss"] == pytest.approx(cpu["loss"], rel=1e-3)
        assert gpu["gradient_norm"] == pytest.approx(cpu["gradient_norm"], rel=1e-2)
