"""The CNF's likelihood is the change of variables, and its mean is trained by its own error alone."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cflowtool.flows.dequantize import uniform_dequantize
from cflowtool.flows.transform import held, occupied, variable
from cflowtool.metrics import bits_per_dim
from cflowtool.models.cnf import CNF, CNFConfig

Randomise = Callable[..., nn.Module]


def cnf(scale: int = 2, mean_weight: float = 0.0, **options: object) -> CNF:
    torch.manual_seed(0)
    small = {"steps": 2, "width": 8, "trunk_channels": 8, "blocks": 1, "growth": 0, "shift": "mean"}
    return CNF(CNFConfig(scale=scale, mean_weight=mean_weight, **{**small, **options}))


def flattened(latent: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([eps.flatten() for eps in latent])


@pytest.mark.parametrize(("scale", "channels", "shift"), [(2, 3, "mean"), (2, 3, "bicubic"), (4, 1, "none")])
def test_the_log_prob_is_the_change_of_variables_of_the_whole_model(
    scale: int, channels: int, shift: str, randomised: Randomise
) -> None:
    model = randomised(cnf(scale, channels=channels, shift=shift))
    x = torch.rand(1, 3, 8 // scale, 8 // scale, dtype=torch.float64)
    y = torch.rand(1, channels, 8, 8, dtype=torch.float64)
    context = model.encode(x)

    def noise_of(values: Tensor) -> Tensor:
        return flattened(model.pyramid(model.injector(values, context[0])[0], context[1:])[0])

    log_det = torch.linalg.slogdet(torch.autograd.functional.jacobian(noise_of, y).flatten(1)).logabsdet
    wanted = torch.distributions.Normal(0.0, 1.0).log_prob(noise_of(y)).sum() + log_det
    assert model.log_prob(y, x).item() == pytest.approx(wanted.item(), abs=1e-8)


def test_decoding_undoes_the_flow(randomised: Randomise) -> None:
    model = randomised(cnf())
    x, eps = torch.rand(1, 3, 4, 4).double(), [e[None].double() for e in cnf().noise((4, 4), [0], 1.0, 0)]
    context = model.encode(x)
    y = model.decode(tuple(eps), context).y[:, 0]
    again, _ = model.pyramid(model.injector(y, context[0])[0], context[1:])
    assert (flattened(again) - flattened(tuple(eps))).abs().max() < 1e-9


def batch(model: CNF, side: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    y, x = (torch.rand(2, 3, s, s, generator=generator).double() for s in (model.scale * side, side))
    return y, x


def gradients(model: CNF, loss: Tensor) -> dict[str, Tensor]:
    """Gradients of the weights that make the mean, and of all others of the encoder."""
    head = model.encoder.head.conv
    weight, features = torch.autograd.grad(loss, [head.weight, model.encoder.trunk.first.weight], retain_graph=True)
    half = len(weight) // 2
    return {"mean": weight[:half], "scale": weight[half:], "features": features}


def test_the_mean_learns_from_its_error_and_never_from_the_likelihood(randomised: Randomise) -> None:
    model = randomised(cnf(mean_weight=20.0))
    y, x = batch(model)
    whole = gradients(model, model.loss(y, x, torch.Generator().manual_seed(2)).sum())
    error = 20.0 * (y - model.encoder(x)[1]).abs().flatten(1).mean(1).sum()
    assert torch.allclose(whole["mean"], gradients(model, error)["mean"], rtol=1e-9) and whole["mean"].any()
    assert whole["scale"].any() and not torch.allclose(whole["features"], gradients(model, error)["features"])


def test_without_a_weight_the_mean_learns_from_the_likelihood(randomised: Randomise) -> None:
    model = randomised(cnf())
    y, x = batch(model)
    generators = (torch.Generator().manual_seed(2) for _ in range(2))
    loss = model.loss(y, x, next(generators))
    noisy = uniform_dequantize(y, 256, next(generators))
    assert torch.allclose(loss, bits_per_dim(model.log_prob(noisy, x), y[0].numel()), rtol=1e-12)
    assert gradients(model, loss.sum())["mean"].any()


def test_the_warm_loss_is_the_error_of_the_mean_or_the_loss_where_there_is_none(randomised: Randomise) -> None:
    for weight in (0.0, 20.0):
        model = randomised(cnf(mean_weight=weight))
        y, x = batch(model)
        warm, full = (loss(y, x, torch.Generator().manual_seed(2)) for loss in (model.warm_loss, model.loss))
        error = weight * (y - model.encoder(x)[1]).abs().flatten(1).mean(1)
        assert torch.equal(warm, error if weight else full)


@pytest.mark.parametrize(("scale", "levels"), [(2, 1), (2, 2), (2, 3), (4, 2), (4, 3)])
def test_the_smallest_size_and_no_smaller_fits_the_pyramid(scale: int, levels: int) -> None:
    model = cnf(scale, levels=levels).eval()
    side = model.size.multiple_of
    assert (side * scale) % 2**levels == 0 and (side == 1 or (side // 2 * scale) % 2**levels)
    assert torch.isfinite(model.sample(torch.rand(1, 3, side, side), 1, 1.0, 0).y).all()


@pytest.mark.parametrize("wrong", [{"depth": 2, "growth": 4}, {"hole": True}, {"hole": True, "in_channels": 4}])
def test_settings_that_do_not_go_together_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="growth" if "growth" in wrong else "hole"):
        CNFConfig(scale=2 if "in_channels" in wrong else 1, **wrong)


def with_hole() -> tuple[Tensor, Tensor]:
    """x whose hole touches 3 of 4 x 4 blocks of 4 x 4 pixels, and which values of y lie in them."""
    x = torch.rand(1, 4, 16, 16, generator=torch.Generator().manual_seed(3)).double()
    x[:, 3] = 0
    x[:, 3, 2:9, 5:7] = 1
    inside = torch.zeros(1, 3, 16, 16, dtype=torch.bool)
    inside[..., :12, 4:8] = True
    return x, inside


@pytest.fixture
def filling(randomised: Randomise) -> CNF:
    return randomised(cnf(1, 20.0, hole=True, in_channels=4, unshuffle=2, depth=1))


def test_the_log_prob_of_a_hole_is_the_change_of_variables_of_the_blocks_it_touches(filling: CNF) -> None:
    x, inside = with_hole()
    context, y = filling.encode(x), x[:, :3] + 0.01 * torch.rand(1, 3, 16, 16).double()

    def noise_of(values: Tensor) -> Tensor:
        with variable(context[-1]):
            whole = y.masked_scatter(inside, values)
            z, _ = filling.injector(whole, context[0])
            eps, _ = filling.pyramid(held(z), context[1:3])
            return torch.cat([occupied(level).flatten() for level in eps])

    values = y[inside]
    log_det = torch.linalg.slogdet(torch.autograd.functional.jacobian(noise_of, values)).logabsdet
    wanted = torch.distributions.Normal(0.0, 1.0).log_prob(noise_of(values)).sum() + log_det
    known = (~inside).sum() * math.log(256)
    assert filling.log_prob(y, x).item() == pytest.approx((wanted + known).item(), rel=1e-9)


@torch.no_grad()
def test_known_blocks_cost_nothing_and_are_what_they_are(filling: CNF) -> None:
    x, inside = with_hole()
    y = torch.rand(1, 3, 16, 16).double()
    assert torch.equal(filling.log_prob(y, x), filling.log_prob(torch.where(inside, y, 1 - y), x))
    draws = filling.sample(x, 2, 1.0, 0)
    known = x[:, :3].masked_select(~inside)
    assert all(torch.equal(draws.y[:, k].masked_select(~inside), known) for k in range(2))
    assert (draws.y[:, 0] != draws.y[:, 1])[inside].all()
    nothing = torch.cat((x[:, :3], torch.zeros_like(x[:, 3:])), 1)
    mass = filling.log_mass_given(y, filling.encode(nothing))
    assert torch.equal(filling.sample(nothing, 1, 1.0, 0).y[:, 0], x[:, :3]) and mass.abs().max() < 1e-9


def test_the_loss_is_of_the_unknown_values_however_few_they_are(filling: CNF) -> None:
    x, inside = with_hole()
    y = torch.where(inside, torch.rand(1, 3, 16, 16).double(), x[:, :3])
    error = (y - filling.encode(x)[0][:, :3]).abs()
    assert not error[~inside].any()
    warm = filling.warm_loss(y, x, torch.Generator())
    assert warm.item() == pytest.approx(20.0 * error[inside].mean().item())
    generators = (torch.Generator().manual_seed(0) for _ in range(2))
    noisy = uniform_dequantize(y, 256, next(generators))
    nats = filling.log_prob(noisy, x) - (~inside).sum() * math.log(256)
    wanted = bits_per_dim(nats, int(inside.sum())) + warm
    assert torch.allclose(filling.loss(y, x, next(generators)), wanted, rtol=1e-9)
