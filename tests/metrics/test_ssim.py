"""SSIM against its laws, its closed form, and scikit-image."""

import numpy as np
import pytest
import torch

from cflowtool.metrics import luma, ssim_y

GENERATOR = torch.Generator().manual_seed(0)
A = torch.randint(0, 256, (3, 24, 31), dtype=torch.uint8, generator=GENERATOR)
B = torch.randint(0, 256, (3, 24, 31), dtype=torch.uint8, generator=GENERATOR)


def test_an_image_is_like_itself() -> None:
    assert ssim_y(A, A, 4) == pytest.approx(1, abs=1e-12)


def test_symmetric_and_below_one() -> None:
    assert ssim_y(A, B) == pytest.approx(ssim_y(B, A)) and ssim_y(A, B) < 0.2


def test_flat_images_have_a_closed_form() -> None:
    a, b = (torch.full((3, 11, 11), v, dtype=torch.uint8) for v in (50, 120))
    m, n, c = luma(a)[0, 0].item(), luma(b)[0, 0].item(), (0.01 * 255) ** 2
    assert ssim_y(a, b) == pytest.approx((2 * m * n + c) / (m * m + n * n + c))


def test_scikit_image_agrees() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255, "full": True}
    a, b = (luma(image).numpy() for image in (A, A // 2 + B // 2))
    _, full = metrics.structural_similarity(a, b, **options)
    assert ssim_y(A, A // 2 + B // 2) == pytest.approx(np.mean(full[5:-5, 5:-5]), abs=1e-9)


def test_less_than_a_window_is_refused() -> None:
    with pytest.raises(ValueError, match="11 x 11"):
        ssim_y(A, B, 7)
