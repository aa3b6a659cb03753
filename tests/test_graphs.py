"""Replayed work gives what called work gives, on a stand-in for CUDA and, where there is one, on a GPU."""

import inspect
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from cflowtool import graphs
from cflowtool.graphs import CudaCapture, Graphs, Tensors

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
Results = tuple[Callable[[], object], Tensors]


class Recorder:
    """Captures as CUDA does: a replay reads the same inputs, and writes over the same outputs and, as all graphs share
    memory, over those of any other graph."""

    def __init__(self) -> None:
        self.outputs: list[Tensors] = []

    def __call__(self, work: Callable[[], Tensors]) -> Results:
        outputs = tuple(torch.full_like(out, torch.nan) for out in work())
        self.outputs.append(outputs)

        def replay() -> None:
            for others in self.outputs:
                for other in others:
                    other.fill_(torch.nan)
            for own, out in zip(outputs, work(), strict=True):
                own.copy_(out)

        return replay, outputs


class Counted:
    """y -> (2 y + 1, sum of y), counting its calls."""

    calls = 0

    def __call__(self, values: Tensor) -> Tensors:
        self.calls += 1
        return 2 * values + 1, values.sum((1, 2, 3))


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


calls = st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["decode", "encode"])), max_size=60)


@given(calls, st.integers(1, 3))
def test_whatever_is_called_in_whatever_order_results_are_those_of_the_work(
    order: list[tuple[int, str]], kept: int
) -> None:
    replayed, found = Graphs(Recorder(), kept), []
    work = {"decode": Counted(), "encode": lambda values: (values.neg(), values)}
    for seed, (size, key) in enumerate(order):
        values = images(size, 3, 2, 2, seed=seed)
        found.append((replayed(work[key], [values], key), work[key](values)))
        assert len(replayed.recorded) <= kept
    for got, wanted in found:
        assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))


def test_the_third_call_is_captured_and_later_ones_are_replayed() -> None:
    recorder = Recorder()
    replayed = Graphs(recorder)
    seen = []
    for seed in range(6):
        replayed(Counted(), [images(1, 3, 2, 2, seed=seed)], "decode")
        seen.append(len(recorder.outputs))
    assert seen == [0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize(
    "other",
    [
        (images(2, 3, 4, 4), "decode"),
        (images(1, 3, 4, 4).double(), "decode"),
        (images(1, 3, 4, 4).contiguous(memory_format=torch.channels_last), "decode"),
        (images(1, 3, 4, 4), "encode"),
    ],
    ids=["shape", "precision", "layout", "key"],
)
def test_what_differs_in_more_than_values_is_captured_apart(other: tuple[Tensor, str]) -> None:
    recorder = Recorder()
    replayed = Graphs(recorder)
    for _ in range(4):
        replayed(Counted(), [images(1, 3, 4, 4)], "decode")
        replayed(Counted(), [other[0]], other[1])
    assert len(recorder.outputs) == len(replayed.recorded) == 2


def test_shapes_in_turn_that_are_too_many_are_not_captured_again_and_again() -> None:
    recorder = Recorder()
    replayed = Graphs(recorder, kept=2)
    for turn in range(40):
        replayed(Counted(), [images(1 + turn % 4, 3, 2, 2)], "decode")
    assert len(recorder.outputs) == len(replayed.recorded) == 2


def test_a_graph_that_is_idle_makes_room() -> None:
    recorder = Recorder()
    replayed = Graphs(recorder, kept=1)
    for _ in range(3):
        replayed(Counted(), [images(1, 3, 2, 2)], "decode")
    for _ in range(graphs._IDLE + 1):
        replayed(Counted(), [images(2, 3, 2, 2)], "decode")
    [(_, ((shape, *_),))] = replayed.recorded
    assert len(recorder.outputs) == 2 and shape[0] == 2


def test_the_shapes_that_are_counted_do_not_grow_for_ever() -> None:
    replayed = Graphs(Recorder())
    for size in range(1, graphs._COUNTED + 50):
        replayed(Counted(), [images(size, 1, 1, 1)], "decode")
    assert len(replayed.counts) == graphs._COUNTED


def test_where_capturing_fails_the_work_is_called_and_it_is_not_tried_again() -> None:
    tried = []

    def capture(work: Callable[[], Tensors]) -> Results:
        tried.append(work())
        raise RuntimeError("operation not permitted when stream is capturing")

    replayed, work = Graphs(capture), Counted()
    for seed in range(5):
        values = images(1, 3, 2, 2, seed=seed)
        got = replayed(work, [values], "decode")
        assert torch.equal(got[0], 2 * values + 1)
    assert len(tried) == 1 and work.calls == 6 and not replayed.recorded


def test_a_replay_that_fails_is_the_last() -> None:
    def replay() -> None:
        raise RuntimeError("unspecified launch failure")

    replayed, work = Graphs(lambda work: (replay, work())), Counted()
    for seed in range(5):
        values = images(1, 3, 2, 2, seed=seed)
        assert torch.equal(replayed(work, [values], "decode")[0], 2 * values + 1)
    assert not replayed.recorded and work.calls == 6


@pytest.mark.parametrize("error", [0.02, 1e9, float("nan")])
def test_a_graph_that_computes_something_else_is_never_used(error: float) -> None:
    def capture(work: Callable[[], Tensors]) -> Results:
        outputs = work()
        return (lambda: outputs[0].view(-1)[:1].copy_(outputs[0].abs().max() * (2 + error))), outputs

    replayed = Graphs(capture)
    for seed in range(5):
        values = images(1, 3, 2, 2, seed=seed)
        assert torch.equal(replayed(Counted(), [values], "decode")[0], 2 * values + 1)
    assert replayed.refused and not replayed.recorded


def test_an_error_of_the_work_itself_is_raised_each_time() -> None:
    def work(values: Tensor) -> Tensors:
        raise ValueError("x is 3 x 3 pixels")

    replayed = Graphs(Recorder())
    for _ in range(5):
        with pytest.raises(ValueError, match="3 x 3"):
            replayed(work, [images(1, 3, 3, 3)], "encode")


def test_what_is_forgotten_is_counted_anew() -> None:
    recorder = Recorder()
    replayed = Graphs(recorder)
    for turn in range(6):
        replayed(Counted(), [images(1, 3, 2, 2)], "decode")
        if turn == 2:
            replayed.clear()
            assert not replayed.recorded
    assert len(recorder.outputs) == 2


def test_what_comes_back_needs_no_gradient_and_is_the_callers_own() -> None:
    net = nn.Conv2d(3, 3, 1)
    replayed = Graphs(Recorder())
    values = images(1, 3, 2, 2)
    found = [replayed(lambda x: (net(x),), [values], "net")[0] for _ in range(5)]
    assert not any(out.requires_grad for out in found)
    found[-1].zero_()
    assert torch.equal(replayed(lambda x: (net(x),), [values], "net")[0], found[0])


def test_torch_takes_what_a_capture_gives_it() -> None:
    taken = inspect.signature(torch.cuda.graph.__init__)
    taken.bind(None, None, pool=None, stream=None, capture_error_mode="thread_local")


def network(*shape: int) -> tuple[Callable[[Tensor, Tensor], Tensors], Tensors]:
    torch.manual_seed(0)
    net = nn.Sequential(*(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.Tanh()) for _ in range(20))).cuda()

    def work(x: Tensor, y: Tensor) -> Tensors:
        with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
            features = net(x) + y
        return features.float(), features.float().mean((1, 2, 3))

    return work, (torch.randn(shape, device="cuda"), torch.randn(shape, device="cuda"))


def close(got: Tensors, wanted: Tensors) -> bool:
    return all(torch.allclose(a, b, rtol=1e-2, atol=1e-2) for a, b in zip(got, wanted, strict=True))


@needs_cuda
def test_a_gpu_replays_what_it_computes_of_other_inputs_and_two_shapes_in_turn() -> None:
    replayed = Graphs(CudaCapture())
    kinds = [network(2, 8, 16, 16), network(1, 8, 24, 8)]
    for turn in range(8):
        for work, inputs in kinds:
            values = [turn * t + turn for t in inputs]
            assert close(replayed(work, values, "net"), work(*values))
    assert len(replayed.recorded) == 2 and not replayed.refused


@needs_cuda
def test_a_gpu_keeps_what_a_graph_reads_and_drops_it_with_the_graph() -> None:
    replayed = Graphs(CudaCapture(), kept=1)
    work, inputs = network(1, 8, 16, 16)
    wanted = replayed(work, inputs, "net")
    for _ in range(3):
        replayed(work, inputs, "net")
    del work
    torch.cuda.empty_cache()
    junk = [torch.full((2**20,), torch.nan, device="cuda") for _ in range(64)]
    [graph] = replayed.recorded.values()
    assert close(graph(inputs), wanted)
    del junk, graph
    replayed.clear()
    again, inputs = network(1, 8, 16, 16)
    assert close([replayed(again, inputs, "net") for _ in range(4)][-1], wanted)


@needs_cuda
@pytest.mark.parametrize("where", ["in the warm-up", "in the capture"])
def test_a_gpu_goes_on_where_a_capture_fails(where: str) -> None:
    calls, waits = [], 4 if where == "in the capture" else 3

    def work(x: Tensor) -> Tensors:
        calls.append(1)
        if len(calls) == waits:
            x.sum().item()
        return (2 * x,)

    replayed, here = Graphs(CudaCapture()), torch.cuda.current_stream()
    for turn in range(6):
        values = torch.full((3, 3), float(turn), device="cuda")
        assert torch.equal(replayed(work, [values], "work")[0], 2 * values)
        assert torch.cuda.current_stream() == here
    assert replayed.refused and not replayed.recorded
    other, inputs = network(1, 8, 16, 16)
    for _ in range(5):
        assert close(replayed(other, inputs, "net"), other(*inputs))
    assert len(replayed.recorded) == 1
