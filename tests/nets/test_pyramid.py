"""Features change their resolution by powers of two."""

import pytest
import torch

from cflowtool.nets.pyramid import ImageHead, resolution_change


@pytest.mark.parametrize("power", [-2, -1, 0, 1, 2])
@pytest.mark.parametrize("size", [(4, 4), (8, 12)])
def test_the_resolution_changes_by_the_power_of_two(power: int, size: tuple[int, int]) -> None:
    x = torch.randn(2, 4, *size)
    y = resolution_change(4, power)(x)
    assert y.shape == (2, 4, *(int(side * 2.0**power) for side in size))
    assert (power == 0) == torch.equal(y.broadcast_to(y.shape), x)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_head_starts_at_zero_and_gives_an_image_of_the_scale(scale: int) -> None:
    y = ImageHead(8, 6, scale)(torch.randn(2, 8, 3, 5))
    assert y.shape == (2, 6, 3 * scale, 5 * scale) and not y.any()
