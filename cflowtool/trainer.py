"""The one training loop: it never knows which paper it trains."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from . import checkpoint, processes
from .dataset import Crops, find, held_out
from .deferred import Deferred
from .device import choose_device, exact, pinned, to_device
from .errors import Diverged, RecipeError, UsageError
from .images.temporary import sweep
from .journal import Journal
from .models import Sampler
from .prefetch import Prefetch
from .recipes import Recipe, build, make_task
from .schedule import generator_of, learning_rate
from .validation import Validator

Observer = Callable[[dict[str, Any]], None]
Batch = tuple[Tensor, Tensor, torch.Generator]


@dataclass
class TrainOptions:
    """What a run is told beside its recipe."""

    data: list[Path]
    out: Path
    steps: int | None = None
    max_seconds: float | None = None
    resume: bool = False
    start_from: dict[str, Tensor] = field(default_factory=dict)
    device: str = "auto"
    save_every: float = 120.0
    validate_every: float = 300.0
    log_every: int = 50


class _Objective(nn.Module):
    """The model's losses as a forward pass, so that a distributed wrapper sees them."""

    def __init__(self, model: Sampler) -> None:
        super().__init__()
        self.model = model

    def forward(self, y: Tensor, x: Tensor, generator: torch.Generator, warm: bool) -> Tensor:
        loss = self.model.warm_loss if warm else self.model.loss
        return loss(y, x, generator).mean()


def check_crop(model: Sampler, crop: int) -> None:
    """Raise RecipeError unless a crop (crop, crop) of y is one that the model takes."""
    fit, fixed = model.size.multiple_of * model.scale, model.size.fixed
    wanted = " x ".join(str(side * model.scale) for side in fixed) if fixed else f"a multiple of {fit}"
    if crop % fit or (fixed and fixed != (crop // model.scale, crop // model.scale)):
        raise RecipeError(f"crops of {crop} pixels do not fit the model", f"make crop {wanted}")


class Trainer:
    """Trains the model of a recipe on folders of images; state goes to ``options.out`` as it runs.

    Under ``accelerate launch`` every process takes its share of each batch, and the first one alone writes.
    """

    def __init__(self, recipe: Recipe, options: TrainOptions, observer: Observer) -> None:
        self.recipe, self.spec, self.options, self.observer = recipe, recipe.train, options, observer
        self.steps = options.steps or recipe.train.steps
        self.task = make_task(recipe)
        self.journal = Journal(options.out)
        mixed = "bf16" if self.spec.precision == "bf16" else "no"
        on_cpu = choose_device(options.device).type == "cpu"
        # The first run of a process would decide the precision of all.
        AcceleratorState._reset_state()
        self.accelerator = processes.accelerator(mixed, on_cpu)
        self.share = processes.Share(self.accelerator.process_index, self.accelerator.num_processes)
        every = find(options.data)
        paths = [path for path in every if not held_out(path, self.task.held_out_share)]
        self.found, self.kept = len(paths), len(every) - len(paths)
        self.crops = Crops.load(paths, self.spec.crop, self.task, self.spec.flips)
        torch.manual_seed(self.spec.seed)
        self.model = build(recipe).to(self.accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.spec.recompute:
            self.model.recompute()
        check_crop(self.model, self.spec.crop)
        self.validator = Validator.load(self.task, options.data, self.model.size)
        self.started_from = self._start_from(options.start_from)
        self.ema = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(self.spec.ema))
        optimizer = torch.optim.Adam(self.model.parameters(), lr=self.spec.learning_rate)
        self.objective, self.optimizer = self.accelerator.prepare(_Objective(self.model), optimizer)
        self.state = checkpoint.State(recipe=recipe.model_dump(mode="json"))
        self.batches = Prefetch(self._batch)
        self.initialised_for: bool | None = None
        self._resume()

    def _start_from(self, tensors: dict[str, Tensor]) -> int:
        own = self.model.state_dict()
        fitting = {k: v for k, v in tensors.items() if k in own and own[k].shape == v.shape}
        self.model.load_state_dict(fitting, strict=False)
        return len(fitting)

    def _resume(self) -> None:
        if self.is_first:
            sweep(self.options.out)
        found = checkpoint.newest(self.options.out, self._note)
        if found and not self.options.resume:
            what = "the output folder holds a run already"
            raise UsageError(what, "add --resume to go on with it, or choose another --out")
        if not found:
            return
        tensors, state = found
        if state.recipe["model"] != self.state.recipe["model"]:
            raise UsageError("the run to resume has another model", "use the recipe it was started with")
        self.model.load_state_dict(checkpoint.part(tensors, "model"))
        self.ema.load_state_dict(checkpoint.part(tensors, "ema"))
        checkpoint.restore_optimizer(self.optimizer, tensors)
        self.state.step, self.state.seconds, self.state.warm = state.step, state.seconds, state.warm

    def _note(self, text: str) -> None:
        if self.is_first:
            self.observer({"event": "note", "text": text})

    @property
    def progress(self) -> float:
        """Return how much of the run is over, from 0 to 1, by its steps or by its time, whichever is further."""
        by_time = self.state.seconds / self.options.max_seconds if self.options.max_seconds else 0.0
        return min(1.0, max(self.state.step / self.steps, by_time))

    def averaged(self) -> Sampler:
        """Return the model to use: the moving average, or the model itself when the recipe asks for none."""
        model = self.ema.module if self.spec.ema and self.state.step else self.model
        assert isinstance(model, Sampler)
        return model.eval()

    @property
    def is_first(self) -> bool:
        """Return whether this process is the one that writes and tells."""
        return bool(self.accelerator.is_main_process)

    def _batch(self, number: int) -> Batch:
        generator = generator_of(self.spec.seed, number)
        x, y = self.task.pair(self.crops.batch(self.spec.batch, generator), generator)
        return pinned(x, self.accelerator.device), pinned(y, self.accelerator.device), generator

    def step(self) -> dict[str, float]:
        """Take one optimisation step and return its figures."""
        number, spec = self.state.step, self.spec
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(spec, number, self.progress)
        warm = self.state.warm and self.progress < spec.mean_steps / spec.steps
        loss = self._loss(self.batches.take(number), warm)
        if not loss.requires_grad:
            raise RecipeError(
                "the recipe's mean_steps train nothing", "leave them out: the model has no mean of its own"
            )
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), spec.clip_norm or math.inf)
        value = float(self.accelerator.reduce(loss.detach(), "mean"))
        if not (math.isfinite(value) and math.isfinite(float(norm))):
            what = f"the loss is not finite at step {number}"
            raise Diverged(what, "the last good checkpoint is kept; lower the learning rate")
        self.optimizer.step()
        self._average()
        self.state.step += 1
        self.state.warm = warm
        return {"loss": value, "gradient_norm": float(norm), "warm": float(warm)}

    def _loss(self, batch: Batch, warm: bool) -> Tensor:
        x, y, generator = batch
        self.model.train()
        if self.share.count == 1:
            return self._objective(x, y, generator, warm)
        if warm is not self.initialised_for:
            # What the first batch sets, it sets as a whole.
            with torch.no_grad():
                self._objective(x, y, generator.clone_state(), warm, self.objective.module)
            self.initialised_for = warm
        with self.share:
            return self._objective(self.share.rows(x), self.share.rows(y), generator, warm)

    def _objective(
        self, x: Tensor, y: Tensor, generator: torch.Generator, warm: bool, objective: nn.Module | None = None
    ) -> Tensor:
        x, y = (to_device(t, self.accelerator.device, torch.channels_last) for t in (x, y))
        with self.accelerator.autocast():
            loss: Tensor = (objective or self.objective)(y, x, generator, warm)
        return loss

    def _average(self) -> None:
        # An average that remembers the untrained or uninitialised model carries it along for thousands of steps.
        if self.state.warm:
            self.ema.n_averaged.zero_()
        self.ema.update_parameters(self.model)

    def save(self) -> None:
        """Write the checkpoint."""
        if self.is_first:
            checkpoint.write(self.options.out, self.model, self.ema, self.optimizer, self.state)

    def run(self) -> Sampler:
        """Train until the steps or the time are used up, validating and saving; return the averaged model.

        An interrupt takes effect between two steps, after the state is saved.
        """
        with exact(self.accelerator.device):
            with Deferred() as deferred:
                self._loop(deferred)
                self.save()
            self.validate()
        return self.averaged()

    def _loop(self, deferred: Deferred) -> None:
        started, spent = time.monotonic(), self.state.seconds
        saved = validated = started
        while self.state.step < self.steps and not self._out_of_time() and not deferred.number:
            figures = self.step()
            now = time.monotonic()
            passed = spent + now - started
            self.state.seconds, deferred.number = processes.agreed(self.accelerator, passed, deferred.number)
            self._report(figures)
            if now - validated > self.options.validate_every:
                self.validate()
                validated = time.monotonic()
            if now - saved > self.options.save_every:
                self.save()
                saved = time.monotonic()

    def _report(self, figures: dict[str, float]) -> None:
        if not self.is_first:
            return
        event = {"step": self.state.step, "steps": self.steps, "seconds": round(self.state.seconds, 1), **figures}
        if self.state.step % self.options.log_every == 0 or self.state.step == self.steps:
            self.journal.line(event="train", **event)
        self.observer({"event": "train", **event})

    def validate(self) -> None:
        """Measure the averaged model on held-out photographs and draw its sample sheet; nothing without any."""
        if not self.validator.pairs or not self.is_first:
            return
        model, device = self.averaged(), self.accelerator.device
        figures = self.validator.figures(model, device)
        self.journal.line(event="validate", step=self.state.step, **figures)
        self.journal.sheet(self.state.step, self.validator.sheet(model, device))
        self.observer({"event": "validate", "step": self.state.step, **figures})

    def _out_of_time(self) -> bool:
        return self.options.max_seconds is not None and self.state.seconds >= self.options.max_seconds
