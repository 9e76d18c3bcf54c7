"""A trace: the operations of a program in order, their streams, and which of them are ordered on the device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class TensorId:
    """Which bytes of which memory a tensor is: views of one tensor share ``memory``, different tensors never do."""

    memory: int
    first_byte: int
    end_byte: int
    shape: tuple[int, ...]

    def overlaps(self, other: TensorId) -> bool:
        return self.memory == other.memory and self.first_byte < other.end_byte and other.first_byte < self.end_byte


@dataclass(frozen=True)
class TraceEvent:
    """One operation, or one synchronisation between streams."""

    index: int
    op: str
    stream: int
    inputs: tuple[TensorId, ...]
    outputs: tuple[TensorId, ...]
    detail: Mapping[str, Any]


@dataclass
class Trace:
    """The operations that were put on streams while a ``trace()`` was open, in the order of the host."""

    events: list[TraceEvent] = field(default_factory=list)

    def ops(self, *, stream: int | None = None) -> list[str]:
        """The names of the operations, of all streams or of one."""
        return [event.op for event in self.events if stream is None or event.stream == stream]

    def ordered(self, first: TraceEvent, then: TraceEvent) -> bool:
        """Whether the device cannot start ``then`` before ``first`` is done."""
        return self._order().ordered(first, then)

    def races(self) -> list[tuple[TraceEvent, TraceEvent]]:
        """Pairs of operations on different streams of which one writes what the other uses, in no certain order."""
        order = self._order()
        return [
            (first, then)
            for then in self.events
            for first in self.events[: then.index]
            if first.stream != then.stream and _conflict(first, then) and not order.ordered(first, then)
        ]

    def _order(self) -> _Order:
        order = _Order()
        for event in self.events:
            order.add(event)
        return order


Clock = dict[int, int]
"""How many operations of each stream are certainly done."""


class _Order:
    """Which operations the streams, their events and the waiting host bring into an order: one clock per stream."""

    def __init__(self) -> None:
        self._streams: dict[int, Clock] = {}
        self._recorded: dict[int, Clock] = {}
        self._host: Clock = {}
        self._events: list[TraceEvent] = []
        self._before: list[Clock] = []
        self._after: list[Clock] = []

    def ordered(self, first: TraceEvent, then: TraceEvent) -> bool:
        return self._before[then.index].get(first.stream, 0) >= self._after[first.index][first.stream]

    def add(self, event: TraceEvent) -> None:
        clock = self._streams.setdefault(event.stream, {})
        _advance(clock, self._host)
        if event.op == "stream.wait_stream":
            _advance(clock, self._streams.get(event.detail["waits_for"], {}))
        elif event.op == "event.wait":
            _advance(clock, self._recorded.get(event.detail["event"], {}))
        elif event.op == "air::wait_tensor":
            self._advance_to_writers(clock, event.inputs)
        self._before.append(dict(clock))
        clock[event.stream] = clock.get(event.stream, 0) + 1
        self._after.append(dict(clock))
        self._events.append(event)
        if event.op == "event.record":
            self._recorded[event.detail["event"]] = dict(clock)
        elif event.op == "event.synchronize":
            _advance(self._host, self._recorded.get(event.detail["event"], {}))
        elif event.op == "device.synchronize":
            for stream in self._streams.values():
                _advance(self._host, stream)
        elif event.detail.get("host_waits"):
            _advance(self._host, clock)

    def _advance_to_writers(self, clock: Clock, tensors: tuple[TensorId, ...]) -> None:
        for event, after in zip(self._events, self._after, strict=True):
            if _meet(event.outputs, tensors):
                _advance(clock, after)


def _advance(clock: Clock, other: Mapping[int, int]) -> None:
    for stream, done in other.items():
        clock[stream] = max(clock.get(stream, 0), done)


def _conflict(first: TraceEvent, then: TraceEvent) -> bool:
    return _meet(first.outputs, then.inputs + then.outputs) or _meet(first.inputs, then.outputs)


def _meet(some: tuple[TensorId, ...], others: tuple[TensorId, ...]) -> bool:
    return any(one.overlaps(other) for one in some for other in others)
