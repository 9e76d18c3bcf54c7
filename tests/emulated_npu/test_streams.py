"""Streams and events are no-ops whose order a trace records, and whose races it finds."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch

from emulated_npu import Trace, TraceEvent, _streams, trace

pytestmark = pytest.mark.usefixtures("npu")


@pytest.fixture(autouse=True)
def fresh_streams() -> None:
    """Each test starts on the default stream, and the next new stream is stream 1."""
    _streams.state.reset()


def find(traced: Trace, op: str) -> TraceEvent:
    (event,) = [event for event in traced.events if event.op == op]
    return event


# What a trace holds


def test_operations_are_traced_in_order() -> None:
    x = torch.ones(2, device="npu")
    with trace() as traced:
        (x + 1) * 2
    assert traced.ops() == ["aten::add.Tensor", "aten::mul.Tensor"]
    assert [event.index for event in traced.events] == [0, 1]


def test_result_of_one_operation_is_recognised_as_input_of_the_next() -> None:
    x = torch.ones(2, device="npu")
    with trace() as traced:
        (x + 1).mul(2)
    assert traced.events[1].inputs == traced.events[0].outputs


def test_view_has_the_memory_of_its_base() -> None:
    x = torch.ones(4, device="npu")
    with trace() as traced:
        x.add_(1)
        x[2:].mul_(2)
    whole, half = (event.outputs[0] for event in traced.events)
    assert (whole.memory, half.first_byte, half.end_byte) == (half.memory, 8, 16)


def test_fresh_memory_is_never_taken_for_old_memory() -> None:
    with trace() as traced:
        for _ in range(5):
            torch.ones(1000, device="npu")
    assert len({event.outputs[0].memory for event in traced.events}) == 5


def test_argument_that_is_written_is_an_output() -> None:
    tensors = [torch.zeros(2, device="npu")]
    with trace() as traced:
        torch._foreach_add_(tensors, 1)
    assert len(traced.events[0].outputs) == 1


def test_views_do_no_work_and_are_not_traced() -> None:
    x = torch.ones(4, device="npu")
    with trace() as traced:
        x.view(2, 2).t()
    assert traced.events == []


def test_allocating_is_no_work_and_is_not_traced() -> None:
    x = torch.ones(4, device="npu")
    with trace() as traced:
        torch.empty_like(x), torch.empty(3, device="npu"), x.new_empty(2)
    assert traced.events == []


def test_nested_traces_both_see_the_operation() -> None:
    x = torch.ones(2, device="npu")
    with trace() as outer:
        x + 1
        with trace() as inner:
            x * 1
    assert (outer.ops(), inner.ops()) == (["aten::add.Tensor", "aten::mul.Tensor"], ["aten::mul.Tensor"])


def test_trace_sees_only_its_own_thread_unless_asked() -> None:
    x = torch.ones(2, device="npu")
    with trace() as own, trace(all_threads=True) as every:
        thread = threading.Thread(target=lambda: x + 1)
        thread.start()
        thread.join()
    assert (own.ops(), every.ops()) == ([], ["aten::add.Tensor"])


# Which stream


def test_work_is_on_the_default_stream_at_first() -> None:
    with trace() as traced:
        torch.ones(1, device="npu")
    assert traced.events[0].stream == torch.npu.default_stream().stream_id == 0


def test_stream_context_puts_work_on_its_stream() -> None:
    side = torch.npu.Stream()
    with trace() as traced:
        with torch.npu.stream(side):
            torch.ones(1, device="npu")
        torch.zeros(1, device="npu")
    assert (traced.ops(stream=side.stream_id), traced.ops(stream=0)) == (["aten::ones"], ["aten::zeros"])


def test_stream_context_of_none_changes_nothing() -> None:
    with torch.npu.stream(None):
        assert torch.npu.current_stream() == torch.npu.default_stream()


def test_stream_context_ends_with_an_error() -> None:
    with pytest.raises(ZeroDivisionError), torch.npu.stream(torch.npu.Stream()):
        raise ZeroDivisionError
    assert torch.npu.current_stream() == torch.npu.default_stream()


def test_a_stream_is_a_context_itself_and_nests() -> None:
    one, two = torch.npu.Stream(), torch.npu.Stream()
    with one:
        with two, one:
            assert torch.npu.current_stream() == one
        assert torch.npu.current_stream() == one
    assert torch.npu.current_stream() == torch.npu.default_stream()


def test_set_stream_lasts_until_set_again() -> None:
    side = torch.npu.Stream()
    torch.npu.set_stream(side)
    try:
        assert torch.accelerator.current_stream() == side
    finally:
        torch.npu.set_stream(torch.npu.default_stream())


def test_current_stream_belongs_to_the_thread() -> None:
    seen = []
    with torch.npu.stream(torch.npu.Stream()):
        thread = threading.Thread(target=lambda: seen.append(torch.npu.current_stream().stream_id))
        thread.start()
        thread.join()
    assert seen == [0]


def test_streams_are_distinct_torch_streams_of_the_device() -> None:
    one, two = torch.npu.Stream(), torch.Stream(device="npu")
    assert isinstance(one, torch.Stream)
    assert one != two
    assert str(one.device) == "npu:0"


def test_record_stream_is_traced_on_that_stream() -> None:
    x, side = torch.ones(2, device="npu"), torch.npu.Stream()
    with trace() as traced:
        x.record_stream(side)
    (event,) = traced.events
    assert (event.op, event.stream) == ("aten::record_stream", side.stream_id)
    assert event.detail["tensor"].shape == (2,)


# Events


def test_event_is_done_at_once() -> None:
    event = torch.npu.Event()
    event.record()
    assert event.query()


def test_elapsed_time_of_timed_events_is_not_negative() -> None:
    start, end = torch.npu.Event(enable_timing=True), torch.npu.Event(enable_timing=True)
    start.record()
    end.record()
    assert start.elapsed_time(end) >= 0


@pytest.mark.parametrize(("timed", "message"), [(False, "enable_timing=True"), (True, "must be recorded")])
def test_elapsed_time_needs_timed_and_recorded_events(timed: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        torch.npu.Event(enable_timing=timed).elapsed_time(torch.npu.Event(enable_timing=timed))


def test_event_record_and_wait_are_traced_with_their_streams() -> None:
    side, event = torch.npu.Stream(), torch.npu.Event()
    with trace() as traced:
        event.record()
        side.wait_event(event)
    record, wait = traced.events
    assert (record.op, record.stream) == ("event.record", 0)
    assert (wait.op, wait.stream) == ("event.wait", side.stream_id)
    assert record.detail["event"] == wait.detail["event"]


# Order on the device


def side_work(join: str) -> Trace:
    """Writes ``x`` on a side stream and reads it on the default one, joined in the given way."""
    x, side, event = torch.ones(4, device="npu"), torch.npu.Stream(), torch.npu.Event()
    with trace() as traced:
        side.wait_stream(torch.npu.current_stream())
        with torch.npu.stream(side):
            x.mul_(2)
            event.record()
        if join == "wait_stream":
            torch.npu.current_stream().wait_stream(side)
        elif join == "wait_event":
            torch.npu.current_stream().wait_event(event)
        elif join == "event.synchronize":
            event.synchronize()
        elif join == "stream.synchronize":
            side.synchronize()
        elif join == "device.synchronize":
            torch.npu.synchronize()
        elif join == "copy":
            with torch.npu.stream(side):
                x.cpu()
        x.add(1)
    return traced


JOINS = ["wait_stream", "wait_event", "event.synchronize", "stream.synchronize", "device.synchronize", "copy"]


@pytest.mark.parametrize("join", JOINS)
def test_joined_work_is_ordered(join: str) -> None:
    traced = side_work(join)
    assert traced.ordered(find(traced, "aten::mul_.Tensor"), find(traced, "aten::add.Tensor"))
    assert traced.races() == []


def test_work_that_is_not_joined_is_a_race() -> None:
    ((first, then),) = side_work("not at all").races()
    assert (first.op, then.op) == ("aten::mul_.Tensor", "aten::add.Tensor")


def test_event_orders_only_what_was_before_its_record() -> None:
    x, side, event = torch.ones(4, device="npu"), torch.npu.Stream(), torch.npu.Event()
    with trace() as traced:
        with torch.npu.stream(side):
            event.record()
            x.mul_(2)
        torch.npu.current_stream().wait_event(event)
        x.add(1)
    assert len(traced.races()) == 1


def test_different_halves_of_one_tensor_do_not_race() -> None:
    x, side = torch.ones(4, device="npu"), torch.npu.Stream()
    with trace() as traced:
        with torch.npu.stream(side):
            x[:2].mul_(2)
        x[2:].add_(1)
    assert traced.races() == []


def test_memory_allocated_for_another_stream_does_not_race() -> None:
    x, side = torch.ones(4, device="npu"), torch.npu.Stream()
    with trace() as traced:
        out = torch.empty_like(x)
        out.record_stream(side)
        with torch.npu.stream(side):
            torch.add(x, 1, out=out)
    assert traced.races() == []


def test_order_is_passed_on_from_stream_to_stream() -> None:
    x, one, two = torch.ones(4, device="npu"), torch.npu.Stream(), torch.npu.Stream()
    with trace() as traced:
        x.mul_(2)
        one.wait_stream(torch.npu.current_stream())
        two.wait_stream(one)
        with torch.npu.stream(two):
            x.add_(1)
    assert traced.races() == []


def test_waiting_for_a_tensor_orders_after_what_wrote_it() -> None:
    x, y, side = torch.ones(4, device="npu"), torch.ones(4, device="npu"), torch.npu.Stream()
    with trace() as traced:
        with torch.npu.stream(side):
            x.mul_(2)
        _streams.note("air::wait_tensor", [y, x], [y])
        x.add_(1)
    assert traced.races() == []


def test_two_readers_do_not_race() -> None:
    x, side = torch.ones(4, device="npu"), torch.npu.Stream()
    with trace() as traced:
        with torch.npu.stream(side):
            x.mul(2)
        x.add(1)
    assert traced.races() == []


# Capturing


def test_graph_context_marks_the_capture() -> None:
    with torch.npu.graph(torch.npu.NPUGraph()):
        during = torch.npu.is_current_stream_capturing()
    assert (during, torch.npu.is_current_stream_capturing()) == (True, False)


def test_capture_ends_with_an_error() -> None:
    with pytest.raises(ZeroDivisionError), torch.npu.graph(torch.npu.NPUGraph()):
        raise ZeroDivisionError
    assert not torch.npu.is_current_stream_capturing()


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.cpu(),
        lambda x: x[0].item(),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: torch.npu.synchronize(),
        lambda x: torch.npu.current_stream().synchronize(),
    ],
)
def test_waiting_for_the_device_is_refused_while_capturing(wait: Callable[[torch.Tensor], object]) -> None:
    x = torch.ones(2, device="npu")
    with (
        pytest.raises(RuntimeError, match="not permitted when stream is capturing"),
        torch.npu.graph(torch.npu.NPUGraph()),
    ):
        wait(x)


def test_work_is_allowed_while_capturing() -> None:
    x = torch.ones(2, device="npu")
    with torch.npu.graph(torch.npu.NPUGraph()):
        y = x + 1
    assert y.tolist() == [2, 2]


def test_captures_do_not_nest() -> None:
    with (
        pytest.raises(RuntimeError, match="do not nest"),
        torch.npu.graph(torch.npu.NPUGraph()),
        torch.npu.graph(torch.npu.NPUGraph()),
    ):
        pass


def test_task_groups_of_a_graph_are_traced() -> None:
    stream = torch.npu.current_stream()
    with trace() as traced:
        torch.npu.graph_task_group_begin(stream)
        handle = torch.npu.graph_task_group_end(stream)
        torch.npu.graph_task_update_begin(stream, handle)
        torch.npu.graph_task_update_end(stream)
    assert traced.ops() == [
        "graph.task_group_begin",
        "graph.task_group_end",
        "graph.task_update_begin",
        "graph.task_update_end",
    ]
