"""What to make of every input of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cflowtool.batch.inputs import Job
from cflowtool.batch.masks import Masks
from cflowtool.batch.outputs import Outputs
from cflowtool.canvas import Settings
from cflowtool.errors import NoLikelihood, UsageError
from cflowtool.images import Limits, Picture, with_pixels
from cflowtool.models import Density
from cflowtool.restorer import Restorer


@dataclass(frozen=True)
class Estimate:
    """The mean of the samples as the one result, of masks cut at a threshold."""

    threshold: float | None = None

    def said(self, samples: int) -> str:
        """What it is, in words."""
        return f"mean of {samples} samples" + ("" if self.threshold is None else f", at least {self.threshold:g}")

    def of(self, mean: Picture) -> Picture:
        """The picture that is written."""
        if self.threshold is None:
            return mean
        found = mean.pixels >= self.threshold * (mean.levels - 1)
        return with_pixels(np.where(found, np.uint8(255), np.uint8(0)), mean)


@dataclass(frozen=True)
class Plan:
    """What to make of every input: the samples to draw, how many to keep of which order, which maps, and where.

    `order` is likelihood, consistency or drawn; None is by likelihood where there is one, else as drawn. With an
    `estimate` that is written instead of the samples. `options` are the task's, which results depend on, too. Inputs
    and results beyond the `limits` are refused.
    """

    settings: Settings
    outputs: Outputs
    keep: int | None = None
    maps: tuple[str, ...] = ()
    order: str | None = None
    estimate: Estimate | None = None
    masks: Masks = field(default_factory=Masks)
    options: dict[str, Any] = field(default_factory=dict)
    deterministic: bool = False
    limits: Limits = field(default_factory=Limits)

    @property
    def kept(self) -> int:
        """The number of pictures that are written, 1 where they are summed up in an estimate."""
        return 1 if self.estimate else min(self.keep or self.settings.samples, self.settings.samples)

    def sample_name(self, rank: int) -> str:
        """The file of the sample at this place of the order, 1 for the first."""
        return f"{rank:0{max(2, len(str(self.kept)))}d}{self.outputs.suffix}"

    def names(self) -> list[str]:
        """The pictures of one input."""
        return [self.sample_name(k + 1) for k in range(self.kept)] + [f"{name}.png" for name in self.maps]

    def check(self, restorer: Restorer, jobs: Sequence[Job]) -> None:
        """Raises UsageError for samples that cannot be ordered or summarised, OutputError as `Outputs.check`."""
        samples = self.settings.samples
        if self.keep and self.keep > samples:
            raise UsageError(f"--keep {self.keep} of {samples} samples", "draw more with --samples")
        self._check_order(restorer)
        if "std" in self.maps and samples < 2:
            raise UsageError("one sample has no spread", "draw more with --samples, or leave --std out")
        self.outputs.check(jobs, self.names())

    def _check_order(self, restorer: Restorer) -> None:
        chooses = self.kept < self.settings.samples and not self.estimate
        if self.order == "drawn" and chooses:
            what = f"--keep {self.keep} needs an order to keep samples by, and --order drawn is none"
            raise UsageError(what, "leave one of them out, or draw fewer with --samples")
        if self.order == "consistency" and restorer.task.resized:
            what = f"results of {restorer.task.name} are consistent with their input all alike"
            raise UsageError(what, "leave --order consistency out")
        by_likelihood = self.order == "likelihood" or (chooses and self.order is None)
        if by_likelihood and not isinstance(restorer.model, Density):
            what = f"model {restorer.card.recipe.model.name} has no likelihood to order samples by"
            raise NoLikelihood(what, "use --order consistency, or leave --keep and --order out")
