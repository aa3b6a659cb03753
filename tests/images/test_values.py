"""Levels and y are one-to-one, and resizing adds no offset."""

import numpy as np
import pytest
import torch

from cflowtool.images import Picture, bicubic_resize, from_tensor, quantise, to_tensor


def every_level(bits: int, channels: int) -> Picture:
    values = np.arange(2**bits, dtype=np.uint8 if bits == 8 else np.uint16).reshape(-1, 16, 1)
    return Picture(np.concatenate([np.roll(values, k * 7, axis=0) for k in range(channels)], axis=2))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_level_comes_back(bits: int, channels: int) -> None:
    picture = every_level(bits, channels)
    y = to_tensor(picture)
    assert y.shape == (1, 3, *picture.size) and y.dtype == torch.float32 and y.min() > 0 and y.max() < 1
    assert np.array_equal(from_tensor(y[0], picture).pixels, picture.pixels)
    assert torch.equal(quantise(y, picture.levels), y)


def test_values_beyond_the_range_are_clamped() -> None:
    like = Picture(np.zeros((1, 4, 1), np.uint8))
    y = torch.tensor([[[-3.0, 0.0, 1.0, 7.0]]])
    assert from_tensor(y, like).pixels.ravel().tolist() == [0, 0, 255, 255]
    assert torch.allclose(quantise(y), torch.tensor([0.5, 0.5, 255.5, 255.5]) / 256)


def test_grey_follows_the_picture_unless_told() -> None:
    grey, colour = every_level(8, 1), every_level(8, 3)
    y = torch.rand(3, 4, 4)
    assert from_tensor(y, grey).grey and not from_tensor(y, colour).grey
    assert not from_tensor(y, grey, grey=False).grey and from_tensor(y, colour, grey=True).grey
    assert from_tensor(y[:1], colour).grey


def test_metadata_comes_along_and_a_profile_only_fits_its_channels() -> None:
    like = Picture(np.zeros((4, 4, 1), np.uint8), None, b"icc", b"Exif\0\0", {"a": "b"}, "name", ["note"])
    same, other = from_tensor(torch.rand(3, 8, 8), like), from_tensor(torch.rand(3, 8, 8), like, grey=False)
    assert (same.icc, same.exif, same.text, same.source, same.notes) == (
        b"icc",
        b"Exif\0\0",
        {"a": "b"},
        "name",
        ["note"],
    )
    assert other.icc is None and other.exif == b"Exif\0\0"


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_alpha_grows_with_the_picture(kind: type) -> None:
    top = np.iinfo(kind).max
    alpha = np.zeros((6, 6), kind)
    alpha[:, 3:] = top
    picture = from_tensor(torch.rand(3, 12, 24), Picture(np.zeros((6, 6, 3), kind), alpha))
    assert picture.alpha is not None and picture.alpha.shape == (12, 24) and picture.alpha.dtype == kind
    assert (picture.alpha[:, :6] == 0).all() and (picture.alpha[:, -6:] == top).all()


@pytest.mark.parametrize("y", [torch.rand(2, 4, 4), torch.rand(1, 3, 4, 4), torch.full((3, 4, 4), torch.nan)])
def test_other_tensors_are_refused(y: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="y "):
        from_tensor(y, every_level(8, 3))


def matrix(before: int, after: int) -> torch.Tensor:
    """Keys' kernel with a = -0.5, stretched when shrinking, written down from the formula."""
    scale = before / after
    stretch = max(scale, 1)
    centres = (torch.arange(after, dtype=torch.float64) + 0.5) * scale - 0.5
    x = ((torch.arange(before, dtype=torch.float64) - centres[:, None]) / stretch).abs()
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    weights = torch.where(x <= 1, near, torch.where(x < 2, far, 0))
    return weights / weights.sum(1, keepdim=True)


@pytest.mark.parametrize("size", [(8, 12), (32, 48), (5, 31)])
def test_resizing_is_the_antialiased_kernel(size: tuple[int, int]) -> None:
    y = torch.rand(1, 2, 16, 24, dtype=torch.float64)
    wanted = matrix(16, size[0]) @ y @ matrix(24, size[1]).T
    assert torch.allclose(bicubic_resize(y, size), wanted, atol=1e-6)


def test_resizing_commutes_with_the_midpoint() -> None:
    v = torch.randint(0, 256, (1, 3, 16, 16)).double()
    midpoint, plain = bicubic_resize((v + 0.5) / 256, (8, 8)), bicubic_resize(v / 255, (8, 8))
    assert torch.allclose(midpoint * 256 - 0.5, plain * 255, atol=1e-6)
