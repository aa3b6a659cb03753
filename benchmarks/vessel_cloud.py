"""Draw precision and recall of vessel models: a curve of the samples' mean, and a dot a sample (CNF, figure 6)."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor

from cflowtool import images
from cflowtool.canvas import Settings
from cflowtool.dataset import as_truth, find, held_out, load_with_masks
from cflowtool.figures import Points, precision_recall_figure
from cflowtool.images import Picture
from cflowtool.metrics.segmentation import precision_recall, precision_recall_curve
from cflowtool.restorer import Restorer
from cflowtool.validation import as_picture
from cflowtool.weights import load

_FEWEST = 0.02


def points(weight: Path, data: Path, samples: int) -> tuple[Points, Points, float]:
    """Return the curve over the pixels of all held-out photographs, one point a sample and photograph, and the maximal
    F-score along the curve; all at the photographs' own size and inside their fields of view."""
    restorer = Restorer(load(weight), device="cpu")
    maps, rights, dots = [], [], []
    for path in [p for p in find([data]) if held_out(p, restorer.task.held_out_share)]:
        truth = as_truth(load_with_masks(path, restorer.task))
        drawn = restorer.restore(as_picture(truth[:3]), Settings(samples, 1.0, 0, mean=True), truth[None, 4:5])
        assert drawn.mean is not None
        right, inside = truth[3] > 0.5, truth[4] > 0.5
        masks = torch.stack([_values(picture) for picture in drawn.pictures])
        dots.append(torch.stack(precision_recall(masks > 0.5, right, inside)))
        maps.append(_values(drawn.mean)[inside])
        rights.append(right[inside])
    curve = precision_recall_curve(torch.cat(maps), torch.cat(rights))
    shown = (curve.precision[curve.recall > _FEWEST], curve.recall[curve.recall > _FEWEST])
    precision, recall = torch.cat(dots, 1)
    return shown, (precision, recall), curve.best[0]


def _values(picture: Picture) -> Tensor:
    pixels = torch.from_numpy(picture.pixels.astype("float64")) / (picture.levels - 1)
    return pixels if pixels.ndim == 2 else pixels[..., 0]


def main() -> None:
    """Draw the figure of the weights given as NAME=FILE, and print what it shows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", nargs="+", metavar="NAME=FILE")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    curves: dict[str, Points] = {}
    clouds: dict[str, Points] = {}
    for item in options.weights:
        name, file = item.split("=", 1)
        curves[name], clouds[name], best = points(Path(file), options.data, options.samples)
        precision, recall = (float(values.mean()) for values in clouds[name])
        print(json.dumps({"model": name, "max_f": best, "samples": {"precision": precision, "recall": recall}}))
    figure = precision_recall_figure(curves, clouds, lowest=0.5)
    images.write(options.out, Picture(figure), overwrite=True)


if __name__ == "__main__":
    main()
