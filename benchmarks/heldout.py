"""Write the centres of the photographs that no recipe trains on (5 % by the hash of their names) as PNG files."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2

from cflowtool import images
from cflowtool.dataset import centres, find, held_out
from cflowtool.validation import as_picture


def main() -> None:
    """Write the first COUNT, in the order of their hashes, prepared as training prepares them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--side", type=int, default=160)
    parser.add_argument("--grey", action="store_true", help="their luma alone")
    options = parser.parse_args()
    paths = [path for path in find(options.data) if held_out(path)]
    for number, crop in enumerate(centres(paths, (options.side, options.side), options.count)):
        picture = as_picture(crop[0])
        if options.grey:
            picture = images.Picture(cv2.cvtColor(picture.pixels, cv2.COLOR_RGB2GRAY)[..., None])
        images.write(options.out / f"{number:02}.png", picture, overwrite=True)


if __name__ == "__main__":
    main()
