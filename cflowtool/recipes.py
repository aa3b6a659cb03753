"""Recipes: one file says task, model, training and defaults, and one function builds the model of it."""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from .errors import RecipeError, escape
from .models import MODELS, Sampler
from .tasks import TASKS, Task

# The recipe and, where it is bundled, the weight of a task that nothing else is said of.
DEFAULT = {
    "super-resolve": "super-resolve-cnf-x2",
    "colorize": "colorize-caflow",
    "inpaint": "inpaint-cnf",
    "segment-vessels": "segment-vessels-cnf",
    "denoise": "denoise-cnf",
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TaskSpec(_Strict):
    """Which task, and its options."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


class ModelSpec(_Strict):
    """Which model, and the fields of its config dataclass."""

    name: str
    config: dict[str, Any] = Field(default_factory=dict)


class TrainSpec(_Strict):
    """Optimisation: Adam, linear warm-up, constant rate, cosine decay over the last ``decay`` share of the run.

    Every ``gamma_every`` steps the rate is multiplied by ``gamma``, and at step ``drop_at`` once by a tenth (CAFLOW
    appendix B). The mean alone is trained for the first ``mean_steps`` of ``steps``; a run of other length keeps both
    shares. Gradients longer than ``clip_norm`` are cut to it, 0 leaves them; ``flips`` mirrors and transposes crops.
    With ``recompute`` a step takes less memory and half as long again, to the same gradients.
    """

    steps: int = Field(gt=0)
    batch: int = Field(16, gt=0)
    crop: int = Field(64, gt=0)
    learning_rate: float = Field(1e-3, gt=0)
    warm_up: int = Field(500, ge=0)
    decay: float = Field(0.5, ge=0, le=1)
    gamma: float = Field(1.0, gt=0, le=1)
    gamma_every: int = Field(1, gt=0)
    drop_at: int | None = Field(None, gt=0)
    mean_steps: int = Field(0, ge=0)
    clip_norm: float = Field(1.0, ge=0)
    flips: bool = True
    ema: float = Field(0.999, ge=0, lt=1)
    precision: Literal["fp32", "bf16"] = "bf16"
    recompute: bool = False
    seed: int = 0


class Defaults(_Strict):
    """What a bare command does with the weight: write ``samples`` of a temperature, or the one ``mean`` of them.

    ``threshold`` is what the mean of masks is cut at.
    """

    samples: int = Field(1, gt=0)
    temperature: float = Field(0.0, ge=0)
    estimate: Literal["sample", "mean"] = "sample"
    threshold: float | None = Field(None, ge=0, le=1)


class Recipe(_Strict):
    """Everything that makes a weight, save for the images."""

    name: str
    title: str = ""
    task: TaskSpec
    model: ModelSpec
    train: TrainSpec
    defaults: Defaults = Defaults()  # type: ignore[call-arg]

    @model_validator(mode="after")
    def _known(self) -> Recipe:
        if self.task.name not in TASKS:
            raise ValueError(f"unknown task {self.task.name!r}: one of {', '.join(TASKS)}")
        if self.model.name not in MODELS:
            raise ValueError(f"unknown model {self.model.name!r}: one of {', '.join(MODELS)}")
        return self


def names() -> list[str]:
    """Return the names of the recipes that come with the package."""
    folder = resources.files("cflowtool") / "recipes_data"
    return sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))


def load(name: str) -> Recipe:
    """Return the recipe of a bundled name or of a TOML file; raise RecipeError when there is none or it is wrong."""
    bundled = resources.files("cflowtool") / "recipes_data" / f"{name}.toml"
    try:
        if name in names():
            return parse(bundled.read_text("utf-8"), name)
        if Path(name).is_file():
            return parse(Path(name).read_text("utf-8"), name)
    except (OSError, ValueError) as error:
        raise RecipeError(f"recipe {escape(name)} is not readable: {escape(error)}", "give a TOML file") from error
    raise RecipeError(f"no recipe {escape(name)}", f"give a TOML file or one of: {', '.join(names())}")


def parse(text: str, name: str = "recipe") -> Recipe:
    """Return the recipe of a TOML text; raise RecipeError when it is wrong."""
    try:
        recipe = Recipe.model_validate(tomllib.loads(text))
        check(recipe)
    except (tomllib.TOMLDecodeError, ValidationError, TypeError, ValueError, RecursionError) as error:
        why = escape(str(error).replace("\n", " "))
        raise RecipeError(f"recipe {escape(name)} is refused: {why}", "compare it with a bundled one") from error
    return recipe


def make_task(recipe: Recipe) -> Task:
    """Return the recipe's task."""
    return TASKS[recipe.task.name](**recipe.task.options)


def model_config(recipe: Recipe) -> Any:
    """Return the model's config dataclass, its fields checked and the defaults filled in."""
    kind = MODELS[recipe.model.name].Config
    return TypeAdapter(kind).validate_json(json.dumps(asdict(kind(**recipe.model.config))), strict=True)


def check(recipe: Recipe) -> None:
    """Raise ValueError or TypeError unless task and model can be made of the recipe and fit each other."""
    task, config = make_task(recipe), model_config(recipe)
    wanted = {"scale": task.scale, "in_channels": task.x_channels, "channels": task.y_channels}
    for key, value in wanted.items():
        if getattr(config, key) != value:
            raise ValueError(f"the task's {key} is {value}, the model's {getattr(config, key)}")


def build(recipe: Recipe) -> Sampler:
    """Return the recipe's model, untrained: the one builder, for training and for use."""
    return MODELS[recipe.model.name](model_config(recipe))
