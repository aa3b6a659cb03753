"""The luma of whatever is assembled is the luma that was given."""

import pytest
import torch
from torch import Tensor

from cflowtool.tasks.colorize import Colorize, from_luma_and_chroma, levels, luma, midpoints

TASK = Colorize()


def colours(step: int = 5) -> Tensor:
    """All colours whose channels are multiples of a step, as an image at midpoints."""
    axis = torch.arange(0, 256, step)
    cube = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).flatten(1)
    return ((cube + 0.5) / 256).view(1, 3, 1, -1)


def eight_bit(image: Tensor) -> Tensor:
    return (image * 256).floor().clamp(0, 255).double()


@pytest.mark.parametrize("spread", [0.0, 0.1, 0.5, 3.0])
def test_the_8_bit_result_has_the_luma_x_to_the_bit_whatever_y_is(spread: float) -> None:
    x, _ = TASK.pair(colours())
    y = 128.5 / 256 + spread * torch.randn(1, 2, *x.shape[2:], generator=torch.Generator().manual_seed(0))
    result = eight_bit(TASK.assemble(x, y))
    assert torch.equal(luma(result).round(), levels(x).round())


def test_the_unrounded_result_has_the_luma_of_an_unrounded_x() -> None:
    x = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 255 / 256 + 0.5 / 256
    y = torch.randn(4, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    result = TASK.assemble(x, y)
    assert (luma(levels(result)) - levels(x)).abs().max() < 1e-4
    assert TASK.degraded_error(x, result).abs().max() < 1e-6
    assert result.min() > 0 and result.max() < 1


def test_a_colour_inside_the_gamut_comes_back_to_within_a_level() -> None:
    truth = colours()
    x, y = TASK.pair(truth)
    blue, red = (levels(y) - 128).split(1, 1)
    ycc = levels(x) + torch.cat((1.402 * red, -0.344136 * blue - 0.714136 * red, 1.772 * blue), 1)
    inside = ((ycc >= 0) & (ycc <= 255)).all(1)
    error = (eight_bit(TASK.assemble(x, y)) - levels(truth)).abs().amax(1)
    assert inside.double().mean() > 0.9 and error[inside].max() <= 1 and error.max() <= 9


def test_inside_the_gamut_the_chroma_is_y_and_outside_the_hue_is() -> None:
    grey, chroma = torch.full((1, 1, 1, 3), 100.0), torch.tensor([[140.0, 128, 250], [120, 128, 250]]).view(1, 2, 1, 3)
    rgb = from_luma_and_chroma(grey, chroma)
    found = torch.cat(((rgb[:, 2:] - grey) / 1.772, (rgb[:, :1] - grey) / 1.402), 1)
    assert torch.allclose(found[..., :2], chroma[..., :2] - 128, atol=1e-4)
    share = found[..., 2] / (chroma[..., 2] - 128)
    assert torch.allclose(share[:, 0], share[:, 1]) and 0 < share[0, 0] < 1
    assert rgb[..., 2].max().item() == pytest.approx(255) or rgb[..., 2].min().item() == pytest.approx(0, abs=1e-4)


def test_grey_has_neutral_chroma_and_comes_back_exactly() -> None:
    grey = ((torch.arange(256) + 0.5) / 256).view(1, 1, 16, 16).expand(-1, 3, -1, -1)
    x, y = TASK.pair(grey)
    assert torch.equal(x, grey[:, :1]) and torch.equal(y, torch.full_like(y, 128.5 / 256))
    assert torch.equal(TASK.assemble(x, y), grey) and torch.equal(TASK.baseline(x), grey)
    assert torch.equal(TASK.condition(grey), x)


def test_a_users_luma_is_not_rounded() -> None:
    deep = ((torch.arange(0, 65536, 257) + 0.5) / 65536).view(1, 1, 16, 16).expand(-1, 3, -1, -1)
    assert (TASK.condition(deep) - deep[:, :1]).abs().max() < 1e-7
    photo = colours(51)
    assert (TASK.condition(photo) - TASK.pair(photo)[0]).abs().max() <= 0.5 / 256 + 1e-7


def test_midpoints_and_levels_are_inverse() -> None:
    values = torch.arange(256.0)
    assert torch.equal(levels(midpoints(values, values)), values.double())


def test_grey_is_not_colourful() -> None:
    truth = colours(17).view(1, 3, 64, 64)
    x, _ = TASK.pair(truth)
    assert TASK.metrics(TASK.baseline(x), truth)["colourfulness"] == 0 < TASK.metrics(truth, truth)["colourfulness"]
