"""Make docs/images/ten-samples.png: ten ranked samples of the example, their spread, and what they start from."""

from __future__ import annotations

from pathlib import Path

from cflowtool import images, views
from cflowtool.canvas import Restoration, Settings
from cflowtool.images import Picture, from_tensor, to_tensor, with_pixels
from cflowtool.restorer import Restorer
from cflowtool.weights import load, resolve

IMAGES = Path(__file__).parent / "images"
TOP, LEFT, SIDE = 300, 120, 160


def cut(picture: Picture) -> Picture:
    """Return the part of the result that the picture shows."""
    return with_pixels(picture.pixels[TOP : TOP + SIDE, LEFT : LEFT + SIDE], picture)


def tiles(drawn: Restoration, baseline: Picture) -> tuple[list[Picture], list[str]]:
    """Return bicubic, ten samples, most likely first, and the spread, with captions."""
    assert drawn.log_prob is not None and drawn.std is not None
    first = drawn.log_prob[drawn.order[0]]
    pictures, captions = [cut(baseline)], ["bicubic"]
    for rank, i in enumerate(drawn.order, 1):
        pictures.append(cut(drawn.pictures[i]))
        said = f"log p = {first:.0f}" if rank == 1 else f"{drawn.log_prob[i] - first:+.0f} nats"
        captions.append(f"{rank}: {said}")
    spread = views.spread_map(drawn.std[TOP : TOP + SIDE, LEFT : LEFT + SIDE], samples=len(drawn.pictures))
    return [*pictures, spread], [*captions, "spread"]


def main() -> None:
    """Draw ten samples at temperature 0.8, seed 0, and write the picture."""
    restorer = Restorer(load(resolve(None, "super-resolve", scale=2)), device="cpu")
    example = images.read(IMAGES / "example.png")
    drawn = restorer.restore(example, Settings(10, 0.8, 0, std=True))
    baseline = from_tensor(restorer.task.baseline(to_tensor(example))[0], example)
    pictures, captions = tiles(drawn, baseline)
    images.write(IMAGES / "ten-samples.png", views.sheet(pictures, captions, columns=6, longest=320), overwrite=True)


if __name__ == "__main__":
    main()
