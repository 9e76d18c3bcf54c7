"""Streams and events as recorded no-ops, and the order in which operations were put on them.

The emulated device computes at once, so a stream has nothing to do and an event is always done. What can still be
asserted is the order: which operation was put on which stream, and what that stream had waited for by then.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch

from . import _accounting
from ._errors import EmulatedNpuError
from ._memory import memory_of
from ._trace import TensorId, Trace, TraceEvent
from ._watching import Watchers

DEFAULT_STREAM = 0

_PRIVATE_USE_1 = int(torch._C._autograd.DeviceType.PrivateUse1)
_TorchStream: Any = torch.Stream
_TorchEvent: Any = torch.Event


class _State:
    """What the streams of this process know; ``reset()`` puts every thread on the default stream of a fresh process."""

    def __init__(self) -> None:
        self.traces: Watchers[Trace] = Watchers()
        # Never started again: storages keep their numbers.
        self.memory_ids = itertools.count(1)
        self.reset()

    def reset(self) -> None:
        self.stream_ids = itertools.count(DEFAULT_STREAM + 1)
        self.priorities: dict[int, int] = {}
        self.event_ids = itertools.count(1)
        self.held_up: dict[int, str] = {}
        """What graphs that were replayed wait for."""
        self.thread = _ThreadState()


class _ThreadState(threading.local):
    stream = DEFAULT_STREAM
    capturing = False


state = _State()


# The trace


def trace(*, all_threads: bool = False) -> AbstractContextManager[Trace]:
    """Trace the operations of this thread (or of every thread) while the ``with`` block runs."""
    return state.traces.watching(Trace(), all_threads=all_threads)


def tracing() -> bool:
    return state.traces.any


def note(op: str, inputs: Sequence[torch.Tensor], outputs: Sequence[torch.Tensor], **detail: Any) -> None:
    """Add one operation to the open traces; it is on the current stream unless ``stream=`` says another."""
    if not state.traces.any:
        return
    stream = detail.pop("stream", state.thread.stream)
    reads = tuple(identity(tensor) for tensor in inputs)
    writes = tuple(identity(tensor) for tensor in outputs)
    with state.traces.reporting() as traces:
        for open_trace in traces:
            index = len(open_trace.events)
            open_trace.events.append(TraceEvent(index, op, stream, reads, writes, detail))


def identity(tensor: torch.Tensor) -> TensorId:
    """The identity of ``tensor`` in traces; a memory gets its number when it is first seen."""
    memory = memory_of(tensor)
    number = getattr(memory, "_trace_number", None)
    if number is None:
        number = next(state.memory_ids)
        # On the storage, not in a table of addresses: addresses are used again.
        memory._trace_number = number
    first = tensor.storage_offset() * tensor.element_size()
    end = first
    if tensor.numel():
        last = sum((size - 1) * stride for size, stride in zip(tensor.size(), tensor.stride(), strict=True))
        end += (last + 1) * tensor.element_size()
    return TensorId(number, first, end, tuple(tensor.shape))


# The current stream


def current_stream_id() -> int:
    return state.thread.stream


def set_current_stream_id(stream_id: int) -> None:
    state.thread.stream = stream_id


def new_stream_id() -> int:
    return next(state.stream_ids)


@contextmanager
def on_stream(stream_id: int) -> Iterator[None]:
    """Put this thread's operations on ``stream_id`` while the ``with`` block runs."""
    outer = state.thread.stream
    state.thread.stream = stream_id
    try:
        yield
    finally:
        state.thread.stream = outer


# Capturing


def capturing() -> bool:
    return state.thread.capturing


@contextmanager
def capture() -> Iterator[None]:
    """Mark what this thread does as captured into a graph while the ``with`` block runs."""
    if state.thread.capturing:
        raise RuntimeError("a graph is being captured already: captures do not nest")
    state.thread.capturing = True
    note("graph.capture_begin", [], [])
    try:
        yield
    finally:
        state.thread.capturing = False
        note("graph.capture_end", [], [])


def refuse_while_capturing(what: str) -> None:
    """Refuse to wait for the device while a graph is captured, as a real device does."""
    if state.thread.capturing:
        raise RuntimeError(
            f"{what}: operation not permitted when stream is capturing. It makes the host wait for the device, and "
            "a graph has no host. Move it before the capture."
        )


def host_waits(cause: str) -> None:
    """The host waits for the device: refused in a capture, counted otherwise."""
    refuse_while_capturing(cause)
    refuse_while_held_up(cause)
    _accounting.waited(cause)


def synchronize_device() -> None:
    """``torch.npu.synchronize()``."""
    host_waits("device.synchronize")
    note("device.synchronize", [], [])


def refuse_while_held_up(what: str) -> None:
    """Refuse what comes behind a graph that waits: the emulated device computes in the order of calls."""
    if state.held_up:
        raise EmulatedNpuError(
            f"{what}: a graph that was replayed still waits for {', '.join(state.held_up.values())}, so that what is "
            "queued behind it cannot be computed, and a real device would not get there either. Record the event first."
        )


# torch.npu.Stream and torch.npu.Event


class Stream(_TorchStream):  # type: ignore[misc]
    """A stream of the npu device."""

    def __new__(
        cls,
        device: Any = None,
        priority: int = 0,
        *,
        stream_id: int | None = None,
        device_index: int = 0,
        device_type: int = _PRIVATE_USE_1,
        **_: Any,
    ) -> Any:
        if device is not None and torch.device(device).type != "npu":
            return _TorchStream(device, priority=priority)
        number = new_stream_id() if stream_id is None else stream_id
        if stream_id is None and priority:
            state.priorities[number] = priority
        return _TorchStream.__new__(cls, stream_id=number, device_index=device_index, device_type=device_type)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._outer: list[int] = []

    @property
    def priority(self) -> int:
        """The priority that the stream was made with: the lower the number, the earlier its work."""
        return state.priorities.get(int(self.stream_id), 0)

    @staticmethod
    def priority_range() -> tuple[int, int]:
        """The least and the greatest priority."""
        return 0, -1

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        host_waits("stream.synchronize")
        note("stream.synchronize", [], [], stream=self.stream_id, host_waits=True)

    def wait_stream(self, stream: Any) -> None:
        note("stream.wait_stream", [], [], stream=self.stream_id, waits_for=stream.stream_id)

    def wait_event(self, event: Event) -> None:
        event.wait(self)

    def record_event(self, event: Event | None = None) -> Event:
        recorded: Event = Event() if event is None else event
        recorded.record(self)
        return recorded

    @property
    def npu_stream(self) -> int:
        return int(self.stream_id)

    def __enter__(self) -> Any:
        self._outer.append(current_stream_id())
        set_current_stream_id(self.stream_id)
        return self

    def __exit__(self, *exc_info: object) -> None:
        set_current_stream_id(self._outer.pop())


class Event(_TorchEvent):  # type: ignore[misc]
    """An event of the npu device."""

    def __new__(
        cls,
        device: Any = None,
        enable_timing: bool = False,
        blocking: bool = False,
        interprocess: bool = False,
        **_: Any,
    ) -> Any:
        if device is not None and not isinstance(device, bool) and torch.device(device).type != "npu":
            return _TorchEvent(device, enable_timing=enable_timing)
        return _TorchEvent.__new__(cls, "npu", enable_timing=enable_timing)

    def __init__(self, device: Any = None, enable_timing: bool = False, *args: Any, **kwargs: Any) -> None:
        # torch.npu.Event takes enable_timing first, torch.Event takes the device first.
        self._timed = device is True or enable_timing
        self._recorded_at: float | None = None
        self.number = next(state.event_ids)

    def record(self, stream: Any = None) -> None:
        self._recorded_at = time.perf_counter()
        note("event.record", [], [], stream=id_of(stream), event=self.number)

    def wait(self, stream: Any = None) -> None:
        note("event.wait", [], [], stream=id_of(stream), event=self.number)

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        host_waits("event.synchronize")
        note("event.synchronize", [], [], event=self.number)

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds of host time between the two records: the emulated device has no time of its own."""
        if not (self._timed and end_event._timed):
            raise ValueError("Both events must be created with argument 'enable_timing=True'.")
        if self._recorded_at is None or end_event._recorded_at is None:
            raise ValueError("Both events must be recorded before calculating elapsed time.")
        return (end_event._recorded_at - self._recorded_at) * 1000.0


def stream_with(stream_id: int) -> Stream:
    """The stream object of a stream that exists already."""
    return Stream(stream_id=stream_id)


def id_of(stream: Any) -> int:
    """The id of a stream, the current one's for None."""
    return current_stream_id() if stream is None else int(stream.stream_id)
