"""The spread, the temperature and the threshold after training."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from cflowtool import weights
from cflowtool.calibrate import (
    best_threshold,
    calibrated,
    calibrated_temperature,
    can_spread,
    excess,
    fit_spread,
    residuals,
    thresholded,
)
from cflowtool.metrics.segmentation import precision_recall_curve
from cflowtool.models import CAFLOW, CNF, Sampler
from cflowtool.models.caflow import CAFLOWConfig
from cflowtool.models.cnf import CNFConfig
from cflowtool.recipes import build


def gaussian_pairs(sampled_std: float, true_std: float) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return samples and truths that are exchangeable once the samples are widened by true_std / sampled_std."""
    generator = torch.Generator().manual_seed(0)
    drawn = sampled_std * torch.randn(4, 50, 3, 24, 24, generator=generator)
    truth = true_std * torch.randn(4, 3, 24, 24, generator=generator)
    return list(zip(drawn, truth, strict=True))


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.6])
def test_the_factor_makes_samples_and_truth_exchangeable(factor: float) -> None:
    pairs = gaussian_pairs(0.1, 0.1 * factor)
    assert fit_spread(pairs) == pytest.approx(factor, rel=0.03)
    assert abs(excess(pairs, fit_spread(pairs))) < 1e-3


def test_a_calibrated_recipe_widens_the_samples_around_the_same_shift(tiny_weight: Path) -> None:
    loaded = weights.load(tiny_weight)
    x, y = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 16, 16)
    recipe = calibrated(loaded.card.recipe, loaded.model, [(x, y)])
    spread = recipe.model.config["spread"]
    wide = build(recipe).eval()
    wide.load_state_dict(loaded.model.state_dict())
    narrow_drawn, wide_drawn = residuals(loaded.model, x, y)[0], residuals(wide, x, y)[0]  # type: ignore[arg-type]
    assert torch.allclose(wide_drawn, spread * narrow_drawn, rtol=1e-4, atol=1e-5)


def test_the_spread_is_part_of_the_density(tiny_weight: Path) -> None:
    recipe = weights.load(tiny_weight).card.recipe
    config = {**recipe.model.config, "spread": 1.5}
    model = build(recipe.model_copy(update={"model": recipe.model.model_copy(update={"config": config})})).eval()
    x = torch.rand(1, 3, 8, 8)
    draws = model.sample(x, 2, 0.8, 0)
    assert draws.log_prob is not None
    again = [model.log_prob(draws.y[:, k], x) for k in range(2)]  # type: ignore[operator]
    assert torch.allclose(torch.stack(again, 1), draws.log_prob, rtol=1e-4)


@pytest.mark.parametrize("deviation", [0.06, 0.1, 0.14])
def test_the_temperature_makes_samples_and_truth_exchangeable(deviation: float) -> None:
    def draw(temperature: float) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        generator = torch.Generator().manual_seed(9)
        for _ in range(8):
            noise = torch.randn(51, 3, 24, 24, generator=generator)
            yield temperature * deviation * noise[1:], 0.1 * noise[0]

    assert calibrated_temperature(draw) == pytest.approx(0.1 / deviation, rel=0.03)


def test_what_has_an_injector_behind_a_shift_can_be_spread() -> None:
    sizes = {"trunk_channels": 8, "steps": 1, "width": 8}
    caflow = {**sizes, "scale": 1, "scales": 1, "condition_steps": 1, "target_steps": 1, "conditional_width": 8}
    spread = CAFLOW(CAFLOWConfig(**caflow, shift="mean")), CNF(CNFConfig(**sizes, blocks=1, shift="bicubic"))
    rigid = CAFLOW(CAFLOWConfig(**{**caflow, "trunk_channels": 0})), CNF(CNFConfig(**sizes, blocks=1)), Sampler()
    assert all(map(can_spread, spread)) and not any(map(can_spread, rigid))


def test_a_caflow_is_spread_around_its_shift() -> None:
    sizes = {"scale": 1, "scales": 1, "condition_steps": 1, "target_steps": 1, "steps": 1, "width": 8}
    found = []
    for spread in (1.0, 1.7):
        torch.manual_seed(0)
        model = CAFLOW(CAFLOWConfig(**sizes, conditional_width=8, trunk_channels=8, shift="mean", spread=spread)).eval()
        found.append(residuals(model, *torch.rand(2, 1, 3, 16, 16, generator=torch.Generator().manual_seed(1)))[0])
    assert torch.allclose(found[1], 1.7 * found[0], rtol=1e-4, atol=1e-5)


def test_of_a_model_of_holes_only_the_hole_counts() -> None:
    config = CNFConfig(scale=1, in_channels=4, steps=1, width=8, trunk_channels=8, blocks=1, growth=0, hole=True,
                       shift="bicubic")  # fmt: skip
    x = torch.rand(1, 4, 16, 16)
    x[:, 3] = 0
    x[:, 3, 4:9, 5:11] = 1
    drawn, truth = residuals(CNF(config).eval(), x, torch.rand(1, 3, 16, 16))
    assert drawn.shape[1:] == truth.shape == (3, 30)


def maps(count: int = 3) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    truths = torch.rand(count, 40, 50, generator=generator) < 0.2
    shares = (torch.rand(count, 40, 50, generator=generator) * 0.7 + 0.4 * truths).clamp(max=1).mul(16).round() / 16
    insides = torch.rand(count, 40, 50, generator=generator) < 0.8
    return list(zip(shares, truths, insides, strict=True))


def test_no_other_threshold_has_a_larger_f_score() -> None:
    threshold = best_threshold(maps())
    share, truth, inside = (torch.stack(kind) for kind in zip(*maps(), strict=True))

    def f_score(at: float) -> float:
        found = (share >= at) & inside
        return float(2 * (found & truth).sum() / (found.sum() + (truth & inside).sum()))

    best, _ = precision_recall_curve(share, truth, inside).best
    assert 0 < threshold < 1 and f_score(threshold) == pytest.approx(best)
    assert f_score(threshold) == max(f_score(at / 97) for at in range(98))
    rounded = (share * 65536).floor().clamp(max=65535) / 65535
    assert torch.equal(rounded >= threshold, share >= threshold)


def test_a_mask_model_gets_its_threshold_and_others_none(small_weights: dict[str, Path]) -> None:
    loaded = weights.load(small_weights["segment-vessels"])
    generator = torch.Generator().manual_seed(0)
    photos = [torch.randint(0, 256, (5, 33, 41), generator=generator).to(torch.uint8) for _ in range(2)]
    made = thresholded(loaded.card.recipe, loaded.model, photos)
    assert made.defaults.threshold is not None and 0 <= made.defaults.threshold <= 1
    assert thresholded(loaded.card.recipe, loaded.model, photos) == made and made.model == loaded.card.recipe.model
    other = weights.load(small_weights["denoise"])
    assert thresholded(other.card.recipe, other.model, photos) == other.card.recipe
