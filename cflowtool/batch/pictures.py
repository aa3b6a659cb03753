"""The pictures that are written of one input: its samples or their estimate, and the maps."""

from __future__ import annotations

from typing import Any

from cflowtool import views
from cflowtool.batch.manifest import caption, kept, note
from cflowtool.batch.plan import Plan
from cflowtool.canvas import Restoration
from cflowtool.images import Picture


def results(restoration: Restoration, plan: Plan) -> list[Picture]:
    """The estimate alone, or the samples that are kept, in their order; without the text of an earlier run."""
    if plan.estimate and restoration.mean is not None:
        return [_forgotten(plan.estimate.of(restoration.mean))]
    return [_forgotten(restoration.pictures[at]) for at in kept(restoration, plan)]


def maps(shown: list[Picture], restoration: Restoration, manifest: dict[str, Any], plan: Plan) -> dict[str, Picture]:
    """The mean, the spread and the sheet of all that is shown, as far as the plan has them."""
    made: dict[str, Picture] = {}
    spread = None if restoration.std is None else views.spread_map(restoration.std, plan.settings.samples)
    if "mean" in plan.maps and restoration.mean is not None:
        made["mean"] = restoration.mean
    if "std" in plan.maps and spread is not None:
        made["std"] = spread
    if "sheet" in plan.maps:
        captions = [caption(sample, manifest["order_by"]) for sample in manifest["samples"]]
        pictures = shown if spread is None else [*shown, spread]
        made["sheet"] = views.sheet(
            pictures, captions if spread is None else [*captions, "spread"], note=note(manifest)
        )
    return {name: _forgotten(picture) for name, picture in made.items()}


def _forgotten(picture: Picture) -> Picture:
    picture.text = {name: value for name, value in picture.text.items() if not name.startswith("cflow:")}
    return picture
