"""Make tests/data/fundus: a drawn photograph of a retina with the mask of its vessels and its field of view."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from cflowtool import images

FOLDER = Path(__file__).parent / "fundus"
HEIGHT, WIDTH, DIAMETER = 560, 560, 540
STEP, TURN, BRANCH, THINNEST = 6.0, 0.13, 0.045, 0.8


def grow(mask: np.ndarray, place: np.ndarray, angle: float, width: float, random: np.random.Generator) -> None:
    """Draw one vessel and its branches, each thinner than the one it leaves."""
    while width > THINNEST and place.min() > 0 and place.max() < WIDTH:
        angle += random.normal(0, TURN)
        after = place + STEP * np.array([np.cos(angle), np.sin(angle)])
        ends = [tuple(int(16 * value) for value in point) for point in (place, after)]
        cv2.line(mask, ends[0], ends[1], 255, max(1, round(width)), cv2.LINE_AA, 4)
        place, width = after, width * 0.992
        if random.random() < BRANCH:
            grow(mask, place, angle + random.choice((-0.7, 0.7)), 0.7 * width, random)


def main() -> None:
    """Draw with seed 0 and write the three pictures."""
    random = np.random.default_rng(0)
    vessels = np.zeros((HEIGHT, WIDTH), np.uint8)
    disc = np.array([150.0, 270.0])
    for angle in (-1.2, -0.6, 0.1, 0.7, 1.3, 2.4, 3.4, 4.2):
        grow(vessels, disc, angle, 8.0, random)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    inside = (rows - HEIGHT / 2) ** 2 + (columns - WIDTH / 2) ** 2 <= (DIAMETER / 2) ** 2
    light = 0.75 + 0.25 * np.exp(-((rows - 270) ** 2 + (columns - 300) ** 2) / 2 / 220**2)
    light += 0.35 * np.exp(-((rows - disc[1]) ** 2 + (columns - disc[0]) ** 2) / 2 / 30**2)
    soft = cv2.GaussianBlur(vessels, (0, 0), 0.8).astype(float) / 255
    colours = np.array([200, 110, 55]) * light[..., None] * (1 - soft[..., None] * np.array([0.25, 0.4, 0.3]))
    colours = colours * inside[..., None] + random.normal(0, 5, (HEIGHT, WIDTH, 3)) * inside[..., None]
    pictures = {"images": colours.clip(0, 255), "manual1": 255 * ((vessels > 127) & inside), "fov": 255 * inside}
    for folder, values in pictures.items():
        pixels = values.astype(np.uint8).reshape(HEIGHT, WIDTH, -1)
        images.write(FOLDER / folder / "drawn.png", images.Picture(pixels), overwrite=True)


if __name__ == "__main__":
    main()
