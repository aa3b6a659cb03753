"""The spread after training."""

from pathlib import Path

import pytest
import torch

from cflowtool import weights
from cflowtool.calibrate import calibrated, excess, fit_spread, residuals
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
