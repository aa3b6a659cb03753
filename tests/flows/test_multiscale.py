"""The unconditional flow's scales: shapes, and where a change of the image can be seen."""

import torch

from cflowtool.flows.multiscale import MultiScale


def test_the_latents_hold_as_many_values_as_the_image() -> None:
    flow = MultiScale(3, 3, 1, 4)
    latent, _ = flow(torch.rand(2, 3, 16, 8))
    assert [tuple(part.shape[1:]) for part in latent] == flow.latent_shapes(16, 8)
    assert flow.latent_shapes(16, 8) == [(6, 8, 4), (12, 4, 2), (48, 2, 1)]
    assert sum(part[0].numel() for part in latent) == 3 * 16 * 8


def test_the_first_batch_sets_every_scale_to_zero_mean_and_unit_variance() -> None:
    flow = MultiScale(1, 2, 0, 4).train()
    latent, _ = flow(7 + 3 * torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(0)))
    values = torch.cat([part.flatten() for part in latent])
    assert values.mean().abs() < 0.2 and (values.std() - 1).abs() < 0.2
