"""The luma of whatever is assembled is the luma that was given."""

import pytest
import torch
from torch import Tensor

from cflowtool.tasks.colorize import Colorize, from_luma_and_chroma, levels, luma, midpoints, own_colour, shrunk

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


SMALL = Colorize(side=24)
SIZES = [(60, 37), (24, 24), (5, 90), (1, 1), (300, 20)]


def image_of(height: int, width: int, depth: int, channels: int) -> Tensor:
    """An image of random values, at the midpoints of 2^depth levels, black and white among them."""
    values = torch.randint(0, 2**depth, (1, channels, height, width), generator=torch.Generator().manual_seed(0))
    values[..., 0, 0], values[..., -1, -1] = 2**depth - 1, 0
    return ((values.double() + 0.5) / 2**depth).expand(-1, 3, -1, -1).float()


def grey_of(height: int, width: int, depth: int) -> Tensor:
    return image_of(height, width, depth, 1)


def chroma_for(task: Colorize, x: Tensor, spread: float, batch: int = 2) -> Tensor:
    return 128.5 / 256 + spread * torch.randn(batch, 2, *x.shape[2:], generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("spread", [0.02, 0.3, 10.0])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_a_finished_image_has_the_users_luma_to_the_bit(
    size: tuple[int, int], channels: int, depth: int, spread: float
) -> None:
    image = image_of(*size, depth, channels)
    x = SMALL.condition(image)
    result = SMALL.finish(image, x, chroma_for(SMALL, x, spread))
    stored = (result * 2**depth).floor()
    assert result.shape == (2, 3, *size) and stored.min() >= 0 and stored.max() < 2**depth
    given = luma((image.double() * 2**depth).floor()).round()
    assert torch.equal(luma(stored).round(), given.expand(2, -1, -1, -1))


def test_neutral_chroma_finishes_as_the_grey_image_itself() -> None:
    for depth in (8, 16):
        image = grey_of(40, 60, depth)
        x = SMALL.condition(image)
        neutral = torch.full((1, 2, *x.shape[2:]), 128.5 / 256)
        assert torch.equal(SMALL.finish(image, x, neutral), image.double())
        assert torch.equal(SMALL.baselines(image, x)["grey"], image)


@pytest.mark.parametrize("size", SIZES)
def test_the_working_size_keeps_shape_and_mean(size: tuple[int, int]) -> None:
    image = grey_of(*size, 8)
    x = SMALL.condition(image)
    longest = max(size)
    assert max(x.shape[2:]) == min(24, longest) and min(x.shape[2:]) >= 1
    if longest <= 24:
        assert torch.equal(x, image[:, :1])
    photo = SMALL.prepare((image[0] * 256).floor().to(torch.uint8))
    assert photo.dtype == torch.uint8 and photo.shape[1:] == x.shape[2:]
    assert ((photo[None, :1] + 0.5) / 256 - x).abs().max() <= 0.5 / 256 + 1e-6


def test_shrinking_averages_areas() -> None:
    planes = torch.rand(2, 3, 48, 72, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.allclose(shrunk(planes, 24), torch.nn.functional.avg_pool2d(planes, 3), rtol=1e-6)
    assert torch.equal(shrunk(planes, 72), planes)


def test_at_the_working_size_finishing_is_assembling_and_target_undoes_it() -> None:
    truth = colours(17).view(1, 3, 64, 64)[..., :24, :16]
    x, y = SMALL.pair(truth)
    image = x.expand(-1, 3, -1, -1)
    result = SMALL.finish(image, x, y)
    assert torch.allclose(result, SMALL.assemble(x, y).double(), rtol=0, atol=1e-6)
    found = SMALL.target(image, x, result.float())
    inside = ((result > 0.6 / 256) & (result < 1 - 0.6 / 256)).all(1, keepdim=True).expand_as(y)
    assert found.shape == y.shape and torch.equal(found, midpoints(levels(found).round(), found))
    assert inside.double().mean() > 0.5 and (found - y)[inside].abs().max() <= 1e-6


def test_target_finds_the_samples_chroma_in_a_larger_image() -> None:
    rows, columns = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    y = midpoints(torch.stack((110 + rows, 150 - columns))[None], torch.zeros(()))
    image = ((torch.arange(96.0) + 80.5) / 256).expand(1, 3, 96, -1).contiguous()
    x = SMALL.condition(image)
    assert (SMALL.target(image, x, SMALL.finish(image, x, y).float()) - y).abs().max() <= 1.5 / 256


def test_what_is_given_holds_nothing_of_the_colours() -> None:
    first = colours(17).view(1, 3, 64, 64)
    x, y = TASK.pair(first)
    second = TASK.assemble(x, 1 - y)
    (image, mask, right), (other, _, _) = SMALL.given(first), SMALL.given(second)
    assert mask is None and right is first and not torch.equal(first, second)
    assert torch.equal(image, image[:, :1].expand(-1, 3, -1, -1)) and torch.equal(image[:, :1], x)
    assert (image - other).abs().max() <= 1 / 256


def tinted(tone: Tensor, noise: float = 0.0) -> Tensor:
    """A photograph whose colour is ``tone`` (2) of chroma times the darkness of random greys."""
    generator = torch.Generator().manual_seed(0)
    y = 40 + 170 * torch.rand(1, 1, 32, 32, generator=generator).double()
    colour = 128 + tone.view(1, 2, 1, 1) * (1.2 - y / 255) + noise * torch.randn(1, 2, 32, 32, generator=generator)
    return from_luma_and_chroma(y, colour)[0].round().to(torch.uint8)


@pytest.mark.parametrize("tone", [(0.0, 0.0), (-12.0, 9.0), (20.0, -3.0)])
def test_grey_and_tinted_photographs_teach_nothing(tone: tuple[float, float]) -> None:
    assert not TASK.usable(tinted(torch.tensor(tone))) and own_colour(tinted(torch.tensor(tone))) < 1
    assert TASK.usable(tinted(torch.tensor(tone), noise=8.0))
