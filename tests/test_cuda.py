"""What every model does on a GPU, as far as a machine without one can tell, and what a GPU does where there is one."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path
from types import MethodType
from unittest import mock

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException

from cflowtool import device, engine, graphs, weights
from cflowtool.device import fetch
from cflowtool.engine import Engine
from cflowtool.flows.actnorm import ActNorm
from cflowtool.flows.transform import Region, counted
from cflowtool.graphs import CudaCapture, Graphs, Uncapturable, Watch
from cflowtool.models import Density, Sampler
from tests.fake_cuda import GPU, META, fake, placed
from tests.models.test_contract import CASES, build, conditions, truths

SCALES = dict(reversed(CASES))
WEIGHTS = weights.registry()
BUILDS: dict[str, Callable[[], Sampler]] = {name: partial(build, name, SCALES[name]) for name in SCALES}
BUILDS |= {name: lambda path=path: weights.load(path).model for name, path in WEIGHTS.items()}
SMALL = dict.fromkeys(SCALES)
pytestmark = pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
of_every_model = pytest.mark.parametrize("name", BUILDS)
of_small_models = pytest.mark.parametrize("name", SMALL)


@pytest.fixture(autouse=True)
def _initialised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past its first step a model in training asks no buffer whether it is set (tests/flows/test_actnorm.py)."""
    monkeypatch.setattr(ActNorm, "seen", property(lambda self: True))


def a_pair(model: Sampler) -> tuple[Tensor, Tensor]:
    x = conditions(model, 2, blocks=2 if model.size.multiple_of == 1 else 1, dtype=torch.float32)
    return x, truths(model, x)


@pytest.mark.parametrize(("name", "bf16"), [*((name, False) for name in SMALL), *((name, True) for name in BUILDS)])
@torch.no_grad()
def test_use_neither_waits_for_a_gpu_nor_feeds_it(name: str, bf16: bool) -> None:
    model = BUILDS[name]().float()
    x, y = a_pair(model)
    with fake() as mode:
        model = placed(model, mode, GPU).prepare()
        x, y = (mode.from_tensor(t).to(GPU) for t in (x, y))
        eps = tuple(torch.randn(1, 3, *shape, device=GPU) for shape in model.latent_shapes(x.shape[-2], x.shape[-1]))
        half = Region(y.shape[-2], y.shape[-1], 0, 0, y.shape[-2] // 2, y.shape[-1])
        with torch.autocast("cuda", torch.bfloat16) if bf16 else nullcontext(), counted(half):
            with Watch():
                context = model.encode(x[:1])
                draws = model.decode(eps, context)
                scores = [model.log_prob_given(y[:1], context)] if isinstance(model, Density) else []
            if isinstance(model, Density):
                scores.append(model.log_mass_given(y[:1], context, torch.Generator().manual_seed(0)))
    assert all(t.device == GPU for t in (draws.y, *context, *scores))
    assert all(t.dtype == torch.float32 for t in (draws.y, draws.log_prob, *scores) if t is not None)


@of_every_model
def test_a_loss_neither_waits_for_a_gpu_nor_mixes_devices(name: str) -> None:
    model = BUILDS[name]().float()
    x, y = a_pair(model)
    with fake() as mode, torch.no_grad():
        model = placed(model, mode, GPU).train()
        x, y = (mode.from_tensor(t).to(GPU) for t in (x, y))
        with torch.autocast("cuda", torch.bfloat16):
            loss = model.loss(y, x, torch.Generator().manual_seed(0))
    assert loss.device == GPU and loss.dtype == torch.float32


@of_small_models
@pytest.mark.parametrize("recompute", [False, True])
def test_gradients_stay_on_the_device(name: str, recompute: bool) -> None:
    model = BUILDS[name]().float().requires_grad_()
    x, y = a_pair(model)
    with fake(META) as mode:
        model = placed(model, mode, META).train().recompute(recompute)
        x, y = (mode.from_tensor(t).to(META) for t in (x, y))
        model.loss(y, x, torch.Generator().manual_seed(0)).mean().backward()
    found = [p.grad.device for p in model.parameters() if p.grad is not None]
    assert found and set(found) == {META}


MISDEEDS: dict[str, Callable[[Tensor], object]] = {
    "item": lambda t: t.sum().item(),
    "branch": lambda t: bool((t > 0).any()),
    "nonzero": lambda t: t.nonzero(),
    "boolean index": lambda t: t[t > 0],
    "to the CPU": lambda t: t.cpu(),
    "from the CPU": lambda t: torch.ones(3).to(t.device) + t,
    "constant": lambda t: torch.tensor([1.0, 2.0, 3.0], device=t.device) * t,
    "number of the CPU": lambda t: t * torch.ones(()),
    "random numbers": lambda t: t + torch.rand_like(t),
}


@pytest.mark.parametrize("misdeed", MISDEEDS)
def test_what_a_graph_cannot_hold_is_seen(misdeed: str) -> None:
    with fake():
        values = torch.ones(3, device=GPU)
        with Watch() as watch:
            values * 2
        assert len(watch.read) == 1
        with pytest.raises((Uncapturable, DataDependentOutputException)), Watch():
            MISDEEDS[misdeed](values)


def test_what_was_there_before_is_kept() -> None:
    with fake():
        weight, bias = torch.ones(3, 3, device=GPU), torch.ones(3, device=GPU)
        with Watch() as watch:
            for _ in range(3):
                (weight @ weight + bias).relu_().mul_(2)
        assert sorted(t.ndim for t in watch.read) == [1, 2]


class Stub:
    """A capture that runs the work it is given, watched, and gives its results back."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, work: Callable[[], tuple[Tensor, ...]]) -> tuple[Callable[[], object], tuple[Tensor, ...]]:
        self.count += 1
        with Watch():
            return (lambda: None), work()


@pytest.fixture
def on_fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], Engine]]:
    """A function that puts an engine of a small model to work on the GPU that is not there, to the test's end."""
    monkeypatch.setattr(engine, "choose_device", lambda name: GPU)
    monkeypatch.setattr(graphs, "_agree", lambda found, wanted: True)
    monkeypatch.setattr(engine, "fetch", lambda values: lambda: [value.cpu() for value in values])

    def noise(self: Sampler, size: tuple[int, int], samples: range, *_: object) -> tuple[Tensor, ...]:
        # Blocks of noise are kept for later pictures, and fake ones would be, too.
        return tuple(torch.randn(len(samples), *shape) for shape in self.latent_shapes(*size))

    with ExitStack() as stack:

        def made(name: str, precision: str) -> Engine:
            model = build(name, SCALES[name])
            mode = stack.enter_context(fake())
            monkeypatch.setattr(Sampler, "to", lambda self, *_, **__: placed(self, mode, GPU))
            model.noise = MethodType(noise, model)  # type: ignore[method-assign]
            found = Engine(model, "cuda", precision)
            found.graphs = Graphs(Stub())
            return found

        yield made


@pytest.mark.parametrize(("batch", "precision"), [(1, "bf16"), (2, "fp32")])
@pytest.mark.parametrize("name", ["cnf", "cnf hole", "caflow", "cglow", "binary-cnf", "factored", "tim"])
def test_an_engine_captures_what_repeats_once(
    name: str, batch: int, precision: str, on_fake_gpu: Callable[[str, str], Engine]
) -> None:
    worker = on_fake_gpu(name, precision)
    height, width = worker.model.size.fixed or (2 * worker.model.size.multiple_of,) * 2
    [tile] = worker.tiles(height, width)
    for _ in range(5):
        context = worker.encode(torch.rand(batch, worker.model.in_channels, height, width), tile)
        y, log_prob = worker.decode(tile, range(3), 0.8, 0, context)
        if isinstance(worker.model, Density):
            alone = tuple(entry[:1] for entry in context)
            worker.log_prob(torch.rand(1, *y.shape[2:]), tile, alone, 0)
    assert y.shape[:2] == (batch, 3) and y.device.type == "cpu" and y.dtype == torch.float32
    assert log_prob is None or (log_prob.shape == (batch, 3) and log_prob.dtype == torch.float64)
    assert len(worker.graphs.recorded) == (2 if name in ("tim", "binary-cnf") else 3)
    assert not worker.graphs.refused and worker.graphs.capture.count == len(worker.graphs.recorded)


def test_an_engine_captures_nothing_large(
    on_fake_gpu: Callable[[str, str], Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = on_fake_gpu("cnf", "fp32")
    monkeypatch.setattr(engine, "_REPLAYED", 31)
    [tile] = worker.tiles(4, 2)
    for _ in range(4):
        worker.decode(tile, range(1), 0.8, 0, worker.encode(torch.rand(1, 3, 4, 2), tile))
    assert worker.graphs.calls == 0


def test_a_changed_parameter_is_another_graph(on_fake_gpu: Callable[[str, str], Engine]) -> None:
    worker = on_fake_gpu("cnf", "fp32")
    [tile] = worker.tiles(4, 4)

    def encode_often() -> None:
        for _ in range(4):
            worker.encode(torch.rand(1, 3, 4, 4), tile)

    encode_often()
    with torch.no_grad():
        next(worker.model.parameters()).mul_(2)
    encode_often()
    assert worker.graphs.capture.count == 2


@pytest.fixture
def mocked_cuda() -> Iterator[mock.MagicMock]:
    """torch.cuda as calls that are written down and do nothing."""
    with mock.patch.multiple("torch.cuda", current_stream=mock.DEFAULT, stream=mock.DEFAULT) as found:
        names = {name: mock.MagicMock(name=name) for name in ("Stream", "CUDAGraph", "graph")}
        with mock.patch.multiple("torch.cuda", **names), fake():
            found["stream"].return_value.__exit__.return_value = None
            names["graph"].return_value.__exit__.return_value = None
            device._results.cache_clear()
            yield mock.MagicMock(**found, **names)
            device._results.cache_clear()


def test_a_capture_is_warmed_up_on_its_own_stream_and_shares_the_memory_of_others(mocked_cuda: mock.MagicMock) -> None:
    capture, weight, calls = CudaCapture(), torch.ones(3, device=GPU), []
    first, second = mock.MagicMock(name="first"), mock.MagicMock(name="second")
    mocked_cuda.CUDAGraph.side_effect = [first, second]

    def work() -> tuple[Tensor, ...]:
        calls.append(torch.is_autocast_cache_enabled())
        return (weight * 2,)

    replay, outputs = capture(work)
    assert calls == [False, False] and torch.is_autocast_cache_enabled() and outputs[0].device == GPU
    replay()
    first.replay.assert_called_once_with()
    others = capture(work)
    streams = [call.kwargs["stream"] for call in mocked_cuda.graph.call_args_list]
    assert streams == [capture.stream] * 2 and mocked_cuda.Stream.call_count == 1
    assert [call.kwargs["pool"] for call in mocked_cuda.graph.call_args_list] == [None, first.pool()]
    assert others and len(capture.graphs) == 2 and [t.shape for t in replay.read] == [(3,)]


def test_results_are_copied_on_a_stream_of_their_own_and_waited_for_when_wanted(mocked_cuda: mock.MagicMock) -> None:
    wait = fetch([torch.ones(2, 3, device=GPU), torch.ones(4, device=GPU, dtype=torch.float64)])
    stream = mocked_cuda.Stream.return_value
    stream.wait_stream.assert_called_once_with(mocked_cuda.current_stream.return_value)
    stream.record_event.return_value.synchronize.assert_not_called()
    found = wait()
    stream.record_event.return_value.synchronize.assert_called_once_with()
    assert [(t.device.type, t.dtype, tuple(t.shape)) for t in found] == [
        ("cpu", torch.float32, (2, 3)),
        ("cpu", torch.float64, (4,)),
    ]


def refusing(work: Callable[[], tuple[Tensor, ...]]) -> tuple[Callable[[], object], tuple[Tensor, ...]]:
    raise RuntimeError("never captured")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 3e-2)])
@of_small_models
def test_a_gpu_replays_what_it_computes(
    name: str, precision: str, tolerance: float, randomised: Callable[..., torch.nn.Module]
) -> None:
    replaying, plain = (Engine(randomised(build(name, SCALES[name]), 0.1).float(), "cuda", precision) for _ in range(2))
    plain.graphs = Graphs(refusing)
    height, width = plain.model.size.fixed or (4 * plain.model.size.multiple_of,) * 2
    [tile] = plain.tiles(height, width)
    for seed in range(6):
        x = torch.rand(1, plain.model.in_channels, height, width, generator=torch.Generator().manual_seed(seed))
        found = [worker.decode(tile, range(3), 0.8, seed, worker.encode(x, tile)) for worker in (replaying, plain)]
        for got, wanted in zip(*found, strict=True):
            assert got is wanted or torch.allclose(got, wanted, rtol=tolerance, atol=tolerance)
    assert replaying.graphs.recorded and not replaying.graphs.refused and not plain.graphs.recorded


def test_the_weights_are_all_there() -> None:
    assert len(WEIGHTS) >= 9 and {*WEIGHTS} == {path.stem for path in Path("weights").glob("*.safetensors")}
