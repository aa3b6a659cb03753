"""Make docs/images/<weight>.png for the weights of four tasks: what was given, what came out, and what was right."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch

from cflowtool import images, views
from cflowtool.canvas import Settings
from cflowtool.dataset import as_truth
from cflowtool.images import Picture, to_tensor
from cflowtool.restorer import Restorer
from cflowtool.validation import as_picture
from cflowtool.weights import load, registry

IMAGES = Path(__file__).parent / "images"
SAMPLES, SIGMA = 5, 25
Shown = dict[str, Picture]


def truth(name: str) -> torch.Tensor:
    """Return a picture of docs/images as (1, 3, H, W)."""
    return as_truth(torch.from_numpy(images.read(IMAGES / name).pixels).permute(2, 0, 1)[None])


def samples(restorer: Restorer, picture: Picture, temperature: float, mask: torch.Tensor | None = None) -> Shown:
    """Return samples, most likely first, and their spread."""
    drawn = restorer.restore(picture, Settings(SAMPLES, temperature, 0, std=True), mask)
    assert drawn.std is not None
    shown = {f"sample {rank}, T = {temperature:g}": drawn.pictures[at] for rank, at in enumerate(drawn.order, 1)}
    return shown | {"spread": views.spread_map(drawn.std, SAMPLES)}


def baselines(restorer: Restorer, picture: Picture, mask: torch.Tensor | None) -> Shown:
    """Return the pictures of the methods that people use without us."""
    image = to_tensor(picture)
    found = restorer.task.baselines(image, restorer.task.condition(image, mask))
    return {name: as_picture(result[0]) for name, result in found.items()}


def denoised(restorer: Restorer) -> Shown:
    """Return the example with noise of 25 levels, and without."""
    right = truth("example.png")
    restorer.task.adapt(sigma=SIGMA)
    noisy = as_picture(restorer.task.pair(right)[0][0, :3])
    still = restorer.restore(noisy, Settings()).pictures[0]
    shown = {"truth": as_picture(right[0]), f"sigma {SIGMA}": noisy, **baselines(restorer, noisy, None)}
    return shown | {"temperature 0": still} | samples(restorer, noisy, 0.8)


def colorized(restorer: Restorer) -> Shown:
    """Return the example in grey, and in colours."""
    right = truth("example.png")
    grey = as_picture(restorer.task.given(right)[0][0])
    still = restorer.restore(grey, Settings()).pictures[0]
    shown = {"truth": as_picture(right[0]), "given": grey, "temperature 0": still}
    return shown | samples(restorer, grey, restorer.card.recipe.defaults.temperature or 0.85)


def damage(height: int, width: int) -> torch.Tensor:
    """Return a mask (1, 1, H, W) of scratches, writing and one hole."""
    mask = np.zeros((height, width), np.uint8)
    for row in range(3):
        cv2.line(mask, (0, height * row // 3 + 12), (width, height * (row + 1) // 4), (1,), 2, cv2.LINE_AA)
    cv2.putText(mask, "cflowtool", (width // 8, height - 20), cv2.FONT_HERSHEY_SIMPLEX, width / 320, (1,), 2)
    cv2.circle(mask, (2 * width // 3, height // 3), height // 12, (1,), -1)
    return torch.from_numpy(mask)[None, None].float()


def inpainted(restorer: Restorer) -> Shown:
    """Return the example with damage, and without."""
    right = truth("example.png")
    mask = damage(*right.shape[-2:])
    broken = as_picture(torch.where(mask > 0.5, 1.0, right)[0])
    still = restorer.restore(broken, Settings(), mask).pictures[0]
    shown = {"truth": as_picture(right[0]), "given": broken, **baselines(restorer, broken, mask)}
    return shown | {"temperature 0": still} | samples(restorer, broken, 0.8, mask)


def segmented(restorer: Restorer) -> Shown:
    """Return a photograph of the retina, and masks of its vessels."""
    photo = images.read(IMAGES / "fundus.jpg")
    defaults = restorer.card.recipe.defaults
    drawn = restorer.restore(photo, Settings(defaults.samples, 1.0, 0, mean=True))
    assert drawn.mean is not None
    cut = drawn.mean.pixels >= (defaults.threshold or 0.5) * 65535
    shown = {"given": photo, **baselines(restorer, photo, None), f"mean of {defaults.samples}": drawn.mean}
    shown["the mean, cut"] = Picture(np.where(cut, np.uint8(255), np.uint8(0)))
    return shown | {f"sample {rank}": drawn.pictures[at] for rank, at in enumerate(drawn.order[:2], 1)}


MAKERS = {"denoise": denoised, "colorize": colorized, "inpaint": inpainted, "segment-vessels": segmented}


def main() -> None:
    """Make the pictures of the weights that are named, or of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", nargs="*")
    wanted = parser.parse_args().weights or list(registry())
    for name in wanted:
        restorer = Restorer(load(registry()[name]), device="cpu")
        if restorer.task.name in MAKERS:
            shown = MAKERS[restorer.task.name](restorer)
            sheet = views.sheet(list(shown.values()), list(shown), columns=4, longest=300)
            images.write(IMAGES / f"{name}.png", sheet, overwrite=True)


if __name__ == "__main__":
    main()
