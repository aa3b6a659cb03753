"""Measure weights on folders of ground truth; write results/<weight>.<set>.json and, if asked, the weights' cards."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from cflowtool.evaluate import Protocol, calibrate, evaluate
from cflowtool.restorer import Restorer
from cflowtool.weights import WeightCard, load, save

RESULTS = Path(__file__).parent / "results"


def measure(weight: Path, data: Path, name: str, limit: int | None, protocol: Protocol) -> dict[str, Any]:
    """Return the figures of one weight on one folder, without the folder's place on this machine, and store them."""
    loaded = load(weight)
    figures = evaluate(Restorer(loaded, device="cpu"), data, protocol, limit=limit)
    figures |= {"data": name, "tensors_sha256": loaded.card.tensors_sha256}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{loaded.card.name}.{name}.json").write_text(json.dumps(figures, indent=1) + "\n")
    return figures


def card_results(card: WeightCard) -> dict[str, Any]:
    """Return all stored figures that were measured with these very tensors, without the rows of single images."""
    found = {}
    for path in sorted(RESULTS.glob(f"{card.name}.*.json")):
        figures = json.loads(path.read_text("utf-8"))
        if figures.pop("tensors_sha256") == card.tensors_sha256:
            found[figures["data"]] = {key: value for key, value in figures.items() if key != "per_image"}
    return found


def _protocol(options: argparse.Namespace) -> Protocol:
    settings = {"sigma": options.sigma, "holes": options.holes}
    drawn = options.samples, options.temp, 0, options.calibration
    return Protocol(*drawn, held_out=options.held_out, settings=settings)


def main() -> None:
    """Measure one weight on the folders given as NAME=DIR."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weight", type=Path)
    parser.add_argument("data", nargs="*", metavar="NAME=DIR")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--calibration", type=int, default=50)
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--temp", type=float, default=0.8)
    parser.add_argument("--held-out", action="store_true", help="only the images that training leaves out")
    parser.add_argument("--sigma", type=float, help="strength of the noise, for denoise")
    parser.add_argument("--holes", help="kind of holes, for inpaint")
    parser.add_argument("--calibrate", action="append", type=Path, metavar="DIR", help="as of cflow evaluate")
    parser.add_argument("--write-card", action="store_true", help="store all figures of this weight in its card")
    parser.add_argument("--run", type=Path, help="run.json of the training, for the wall time on the card")
    parser.add_argument("--note", action="append", default=[], help="a sentence for the card, instead of those there")
    options = parser.parse_args()
    protocol = _protocol(options)
    if options.calibrate:
        protocol = calibrate(Restorer(load(options.weight), device="cpu"), options.calibrate, protocol)
    for item in options.data:
        name, folder = item.split("=", 1)
        found = measure(options.weight, Path(folder), name, options.limit, protocol)
        print(json.dumps({key: value for key, value in found.items() if key != "per_image"}))
    if options.write_card:
        loaded = load(options.weight)
        change: dict[str, Any] = {"results": card_results(loaded.card), "notes": options.note or loaded.card.notes}
        if options.run:
            change["seconds"] = json.loads(options.run.read_text("utf-8"))["seconds"]
        save(options.weight, loaded.model, loaded.card.model_copy(update=change))


if __name__ == "__main__":
    main()
