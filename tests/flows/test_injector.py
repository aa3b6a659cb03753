"""The injector's log-scale starts at its centre and never strays from it by more than its bound."""

import pytest
import torch

from cflowtool.flows.injector import LOG_SCALE_BOUND, AffineInjector


@pytest.mark.parametrize("centre", [0.0, -4.0])
def test_the_log_scale_stays_about_its_centre(centre: float) -> None:
    injector = AffineInjector(1, centre).double()
    raw = torch.tensor([-1e6, 0.0, 1e6], dtype=torch.float64).view(3, 1, 1, 1)
    _, log_det = injector(torch.zeros_like(raw), torch.cat((torch.zeros_like(raw), raw), 1))
    wanted = torch.tensor([centre - LOG_SCALE_BOUND, centre, centre + LOG_SCALE_BOUND], dtype=torch.float64)
    assert torch.allclose(-log_det, wanted)


def test_noise_zero_is_the_shift() -> None:
    context = torch.randn(2, 6, 4, 4)
    assert torch.equal(AffineInjector(3, -4.0).inverse(torch.zeros(2, 3, 4, 4), context)[0], context[:, :3])
