"""A captured graph: what a replay computes again, with which memory, and what it waits for."""

from __future__ import annotations

import pytest
import torch

import emulated_npu
from emulated_npu import EmulatedNpuError, record, trace

pytestmark = pytest.mark.usefixtures("npu")


def captured_sum(x: torch.Tensor) -> tuple[torch.npu.NPUGraph, torch.Tensor]:
    graph = torch.npu.NPUGraph()
    with torch.npu.graph(graph):
        y = (x + 1).view(2, 2)[0] * 2
    return graph, y


def test_a_replay_computes_on_what_the_memory_holds_by_then() -> None:
    x = torch.zeros(4, device="npu")
    graph, y = captured_sum(x)
    x.copy_(torch.arange(4.0))
    graph.replay()
    assert y.tolist() == [2, 4]


def test_a_replay_repeats_what_is_done_in_place() -> None:
    x = torch.zeros(2, device="npu")
    graph = torch.npu.NPUGraph()
    with torch.npu.graph(graph):
        x.add_(1)
    x.fill_(10)
    graph.replay()
    graph.replay()
    assert x.tolist() == [12, 12]


def test_a_replay_takes_nothing_from_python() -> None:
    x, factor = torch.ones(2, device="npu"), [2]
    graph = torch.npu.NPUGraph()
    with torch.npu.graph(graph):
        y = x * factor[0]
    factor[0] = 5
    graph.replay()
    assert y.tolist() == [2, 2]


def test_a_replay_is_not_misled_by_a_tensor_that_got_other_sizes() -> None:
    x = torch.ones(2, 3, device="npu")
    graph = torch.npu.NPUGraph()
    with torch.npu.graph(graph):
        y = x + torch.arange(3, device="npu")
        x.t_()
    x.fill_(2)
    graph.replay()
    assert y.tolist() == [[2, 3, 4]] * 2


def test_a_replay_of_inference_works_outside_of_inference_mode() -> None:
    with torch.inference_mode():
        x = torch.zeros(4, device="npu")
        graph, y = captured_sum(x)
        x.fill_(1)
    graph.replay()
    assert y.tolist() == [4, 4]


def test_a_copy_from_the_host_is_made_again_from_the_same_host_memory() -> None:
    on_host = torch.ones(2)
    graph = torch.npu.NPUGraph()
    with torch.npu.graph(graph):
        y = on_host.to("npu", non_blocking=True) + 1
    on_host.fill_(7)
    graph.replay()
    assert y.tolist() == [8, 8]


def test_an_op_of_torch_npu_is_replayed() -> None:
    emulated_npu.install()
    x, weight = torch.ones(1, 4, device="npu", dtype=torch.float16), torch.ones(4, device="npu", dtype=torch.float16)
    graph = torch.npu.NPUGraph()
    with torch.npu.graph(graph):
        y = torch.ops.npu.npu_rms_norm(x, weight)[0]
    weight.fill_(3)
    graph.replay()
    assert y.tolist() == [[3, 3, 3, 3]]


def test_a_replay_counts_as_one_launch() -> None:
    x = torch.zeros(4, device="npu")
    graph, _ = captured_sum(x)
    with record() as log, trace() as traced:
        graph.replay()
    assert traced.ops() == ["graph.replay"]
    assert (log.dispatches, log.kernels) == (1, 0)


def test_a_graph_that_was_not_captured_cannot_be_replayed() -> None:
    with pytest.raises(RuntimeError, match="without a successful capture"):
        torch.npu.NPUGraph().replay()


def test_a_capture_that_failed_cannot_be_replayed() -> None:
    graph = torch.npu.NPUGraph()
    with pytest.raises(ZeroDivisionError), torch.npu.graph(graph):
        raise ZeroDivisionError
    with pytest.raises(RuntimeError, match="without a successful capture"):
        graph.replay()


# Events from outside, and updates


class Waiting:
    """A graph that waits for an event before it does what an update may change."""

    def __init__(self) -> None:
        self.x, self.out = torch.ones(2, device="npu"), torch.zeros(2, device="npu")
        self.event, self.graph, self.stream = torch.npu.ExternalEvent(), torch.npu.NPUGraph(), torch.npu.Stream()
        with torch.npu.graph(self.graph):
            stream = torch.npu.current_stream()
            self.event.wait(stream)
            self.event.reset(stream)
            torch.npu.graph_task_group_begin(stream)
            torch.mul(self.x, 2, out=self.out)
            self.handle = torch.npu.graph_task_group_end(stream)

    def update(self, factor: int) -> None:
        torch.npu.graph_task_update_begin(self.stream, self.handle)
        torch.mul(self.x, factor, out=self.out)
        torch.npu.graph_task_update_end(self.stream)


def test_a_replay_goes_on_once_its_event_is_recorded() -> None:
    waiting = Waiting()
    waiting.x.fill_(3)
    waiting.graph.replay()
    waiting.event.record(waiting.stream)
    assert waiting.out.tolist() == [6, 6]


def test_an_update_gives_a_task_other_arguments_and_computes_nothing() -> None:
    waiting = Waiting()
    waiting.out.zero_()
    waiting.update(5)
    assert waiting.out.tolist() == [0, 0]
    waiting.graph.replay()
    waiting.event.record(waiting.stream)
    assert waiting.out.tolist() == [5, 5]


def test_an_update_between_a_replay_and_the_event_is_in_time() -> None:
    waiting = Waiting()
    for factor in (5, 7):
        waiting.graph.replay()
        waiting.update(factor)
        waiting.event.record(waiting.stream)
        assert waiting.out.tolist() == [factor, factor]


@pytest.mark.parametrize("next_step", ["read", "synchronize", "replay"])
def test_nothing_comes_past_a_graph_that_waits(next_step: str) -> None:
    waiting = Waiting()
    waiting.graph.replay()
    steps = {"read": waiting.out.tolist, "synchronize": torch.npu.synchronize, "replay": waiting.graph.replay}
    with pytest.raises(EmulatedNpuError, match="still waits for external event"):
        steps[next_step]()
    waiting.event.record(waiting.stream)
    assert waiting.out.tolist() == [2, 2]


def test_an_update_with_another_operator_is_refused() -> None:
    waiting = Waiting()
    torch.npu.graph_task_update_begin(waiting.stream, waiting.handle)
    with pytest.raises(EmulatedNpuError, match="is not what was captured"):
        torch.add(waiting.x, 1, out=waiting.out)
    torch.npu.graph_task_update_end(waiting.stream)
