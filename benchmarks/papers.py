"""Train small versions of the papers' models side by side and measure what the papers claim of them.

    python benchmarks/papers.py train FOLDER --out RUNS [--jobs 2]
    python benchmarks/papers.py measure FOLDER --out RUNS        -> benchmarks/results/papers.json and docs/papers.md

Every run of papers.toml is one `cflow train`, on the same photographs, for the same number of steps; a run that is
done is left alone. Measured are photographs that no run has seen (5 % by the hash of their names).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from papers_page import write_page
from torch import Tensor

from cflowtool.dataset import centres, find, held_out
from cflowtool.metrics.diversity import diversity, faithfulness_weighted_variance
from cflowtool.metrics.likelihood import bits_per_dim
from cflowtool.metrics.perceptual import make_distance
from cflowtool.metrics.sets import fid, kid, set_features
from cflowtool.models import TIM, Density, Sampler
from cflowtool.recipes import make_task, parse
from cflowtool.weights import load

HERE = Path(__file__).parent
IMAGES, SET_IMAGES, BATCH, SAMPLES = 100, 240, 10, 10
TEMPERATURE = 0.8
BUDGETS = (1, 2, 4, 8, 16, 32, 64, 128)
BANDWIDTH = 1.0


def runs() -> dict[str, dict[str, Any]]:
    """Return every run of papers.toml, laid over its base."""
    text = tomllib.loads((HERE / "papers.toml").read_text("utf-8"))
    base, found = text["base"], {}
    for name, run in text["run"].items():
        config = {"scale": base["task"]["options"]["scale"], **run["model"]["config"]}
        train = {**base["train"], **run.get("train", {})}
        model = {"name": run["model"]["name"], "config": config}
        found[name] = {"name": name, "title": run["title"], "task": base["task"], "model": model, "train": train}
    return found


def as_toml(recipe: dict[str, Any]) -> str:
    """Return a recipe as TOML: what JSON writes of a text, a number, a truth value or a list is TOML too."""

    def rows(table: dict[str, Any]) -> list[str]:
        return [f"{key} = {json.dumps(value)}" for key, value in table.items() if not isinstance(value, dict)]

    def tables(path: str, table: dict[str, Any]) -> list[str]:
        nested = [(f"{path}.{key}", value) for key, value in table.items() if isinstance(value, dict)]
        return [f"[{path}]", *rows(table), *(line for each in nested for line in tables(*each))]

    sections = (tables(key, value) for key, value in recipe.items() if isinstance(value, dict))
    return "\n".join([*rows(recipe), *(line for section in sections for line in section)]) + "\n"


def train(name: str, recipe: dict[str, Any], data: Path, out: Path) -> None:
    """Run `cflow train` on one recipe, on one thread, unless its weight is there."""
    folder = out / name
    if (folder / "weights.safetensors").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "recipe.toml"
    file.write_text(as_toml(recipe), "utf-8")
    command = [sys.executable, "-m", "cflowtool", "train", recipe["task"]["name"], "--data", str(data)]
    command += ["--recipe", str(file), "--out", str(folder), "--device", "cpu", "--resume", "--quiet"]
    print("training", name, flush=True)
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def pairs(recipe: dict[str, Any], data: Path, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches (x, y) of the centres of photographs no run has seen."""
    paths = [path for path in find([data]) if held_out(path)]
    photos = centres(paths, (recipe["train"]["crop"],) * 2, count)
    task = make_task(parse(as_toml(recipe)))
    for start in range(0, len(photos), BATCH):
        yield task.pair(torch.cat(photos[start : start + BATCH]))


def psnr(result: Tensor, truth: Tensor) -> Tensor:
    """Return PSNR over RGB of (B, C, H, W) in [0, 1], cut to that range, (B,) in dB."""
    return -10 * (result.clamp(0, 1) - truth).square().flatten(1).mean(1).log10()


def faithful(samples: Tensor, truth: Tensor, distance: torch.nn.Module) -> float:
    """Return the faithfulness-weighted variance of the samples of one photograph."""
    return faithfulness_weighted_variance(samples.clamp(0, 1), truth, distance, BANDWIDTH)


@torch.no_grad()
def measure(model: Sampler, recipe: dict[str, Any], data: Path) -> dict[str, list[float]]:
    """Return one number a photograph for every figure, in the same order for every run."""
    lite0 = make_distance("lite0")
    rows: dict[str, list[float]] = {}
    for x, y in pairs(recipe, data, IMAGES):
        drawn = model.sample(x, SAMPLES, TEMPERATURE, 0)
        found = {
            "psnr_temp0": psnr(model.sample(x, 1, 0.0, 0).y[:, 0], y),
            "psnr_one": psnr(drawn.y[:, 0], y),
            "psnr_mean": psnr(drawn.y.mean(1), y),
            "lite0_one": lite0(drawn.y[:, 0].clamp(0, 1), y),
            "diversity": torch.tensor([diversity(each.clamp(0, 1), lite0) for each in drawn.y]),
            "fwv": torch.tensor([faithful(each, truth, lite0) for each, truth in zip(drawn.y, y, strict=True)]),
        }
        if isinstance(model, Density):
            found |= likelihoods(model, x, y, lite0)
        for key, values in found.items():
            rows.setdefault(key, []).extend(values.tolist())
    return rows


def likelihoods(model: Density, x: Tensor, y: Tensor, lite0: torch.nn.Module) -> dict[str, Tensor]:
    """Return bits per dimension, at the midpoints and with dequantization noise, and what the likelihood orders."""
    dims, context = model.dims(*x.shape[-2:]), model.encode(x)
    mass, bound = (model.log_mass_given(y, context, noise) for noise in (None, torch.Generator().manual_seed(0)))
    truth = model.log_prob(y, x)
    drawn = model.sample(x, SAMPLES, TEMPERATURE, 0)
    hot = model.sample(x, SAMPLES, 1.0, 0)
    assert drawn.log_prob is not None and hot.log_prob is not None
    best = drawn.ranked().y[:, 0]
    return {
        "bits_per_dim": bits_per_dim(mass, dims, levels=1),
        "bits_of_the_bound": bits_per_dim(bound, dims, levels=1),
        "psnr_best": psnr(best, y),
        "lite0_best": lite0(best.clamp(0, 1), y),
        "less_likely_than_truth": (drawn.log_prob < truth[:, None]).double().mean(1),
        "less_likely_than_truth_hot": (hot.log_prob < truth[:, None]).double().mean(1),
    }


@torch.no_grad()
def set_distances(model: Sampler, recipe: dict[str, Any], data: Path) -> dict[str, float]:
    """Return FID and KID on lite0 features between one sample each of the photographs and the photographs."""
    found = [(y, model.sample(x, 1, 1.0, 0).y[:, 0].clamp(0, 1)) for x, y in pairs(recipe, data, SET_IMAGES)]
    real, fake = (set_features(images) for images in zip(*found, strict=True))
    return {"images": len(real), "fid_lite0": fid(real, fake), "kid_lite0": kid(real, fake)[0]}


def efficiency(model: TIM, recipe: dict[str, Any], data: Path) -> dict[str, list[float]]:
    """Return the distance of the nearest of m codes a module, mean over photographs, hierarchically and not."""
    curves: dict[str, list[float]] = {"hierarchical": [], "vanilla": []}
    batches = list(pairs(recipe, data, IMAGES))
    for budget in BUDGETS:
        for name in curves:
            generator = torch.Generator().manual_seed(budget)
            draws = [budget] * len(model.tower)
            found = [model.nearest(y, x, draws, generator, name == "hierarchical").distance for x, y in batches]
            curves[name].append(float(torch.cat(found).mean()))
    return curves


def measured(name: str, recipe: dict[str, Any], data: Path, out: Path) -> dict[str, Any]:
    """Return all figures of one run."""
    print("measuring", name, flush=True)
    model = load(out / name / "weights.safetensors").model
    about = json.loads((out / name / "run.json").read_text("utf-8"))
    found: dict[str, Any] = {"title": recipe["title"], "parameters": sum(p.numel() for p in model.parameters())}
    found |= {"steps": about["steps"], "seconds": about["seconds"], "batch": recipe["train"]["batch"]}
    found["figures"] = measure(model, recipe, data)
    found["sets"] = set_distances(model, recipe, data)
    if isinstance(model, TIM) and name == "tim":
        found["efficiency"] = efficiency(model, recipe, data)
    return found


def main() -> None:
    """Train all runs, or measure them and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "measure"])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--steps", type=int, help="other than in papers.toml")
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    chosen = {name: run for name, run in runs().items() if not options.only or name in options.only}
    for run in chosen.values():
        run["train"]["steps"] = options.steps or run["train"]["steps"]
    if options.what == "train":
        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(lambda item: train(*item, options.data, options.out), chosen.items()))
        return
    results = HERE / "results" / "papers.json"
    known = json.loads(results.read_text("utf-8"))["runs"] if options.only and results.is_file() else {}
    found = {name: measured(name, run, options.data, options.out) for name, run in chosen.items()}
    about = {"data": options.data.name, "images": IMAGES, "samples": SAMPLES, "temperature": TEMPERATURE}
    results.write_text(json.dumps({**about, "budgets": BUDGETS, "runs": {**known, **found}}, indent=1) + "\n", "utf-8")
    write_page(json.loads(results.read_text("utf-8")), HERE.parent / "docs" / "papers.md")


if __name__ == "__main__":
    main()
