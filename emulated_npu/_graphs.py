"""Captured graphs: the work that a thread queued while it captured, and doing it again on memory as it is by then.

What is captured is computed at once as well. A replay computes everything again, in the order of the capture, with the
same tensors; views and allocations are no work, so they are not repeated. As on a real device no Python runs in it.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch

from . import _accounting, _streams
from ._errors import EmulatedNpuError
from ._memory import alias, is_npu, memory_of, same_memory, tensors_in
from ._watching import silently

Kernel = Callable[..., Any]


class _Task:
    """One kernel with its arguments, and the memory that its results got when it was captured."""

    def __init__(self, kernel: Kernel, args: Any, kwargs: Any, result: Any) -> None:
        self.kernel = kernel
        self.result = result
        self._results = [_kept(tensor) for tensor in tensors_in(result)]
        self.give(args, kwargs)
        given = {_address(tensor) for tensor in tensors_in([*self._args, *self._kwargs.values()])}
        self._made = [tensor.numel() > 0 and _address(tensor) not in given for tensor in self._results]

    def give(self, args: Any, kwargs: Any) -> None:
        """Take other arguments: for the next replay."""
        self._args = _kept(args)
        self._kwargs = {name: _kept(value) for name, value in kwargs.items()}

    def run(self) -> None:
        again = tensors_in(self.kernel(*self._args, **self._kwargs))
        for captured, made, own in zip(self._results, again, self._made, strict=True):
            if own:
                _on_host(captured).copy_(_on_host(made))


class _Signal:
    def __init__(self, event: ExternalEvent) -> None:
        self.event = event


class _Wait(_Signal):
    """The graph goes on when the event was recorded."""

    def run(self) -> None:
        pass


class _Reset(_Signal):
    def run(self) -> None:
        self.event.signalled = False


class _Record(_Signal):
    def run(self) -> None:
        self.event.signal()


Step = _Task | _Wait | _Reset | _Record


class _Capture:
    """The steps of a graph that is being captured."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.group: TaskGroup | None = None

    def take(self, kernel: Kernel, args: Any, kwargs: Any) -> Any:
        result = kernel(*args, **kwargs)
        task = _Task(kernel, args, kwargs, result)
        self.steps.append(task)
        if self.group is not None:
            self.group.tasks.append(task)
        return result


class TaskGroup:
    """The tasks of a graph between the begin and the end of a group: an update gives them other arguments."""

    def __init__(self) -> None:
        self.tasks: list[_Task] = []


class _Update:
    """Gives the tasks of a group the arguments of the calls that are made now, without computing these."""

    def __init__(self, group: TaskGroup) -> None:
        self._tasks = iter(group.tasks)

    def take(self, kernel: Kernel, args: Any, kwargs: Any) -> Any:
        task = next(self._tasks, None)
        if task is None or task.kernel is not kernel:
            raise EmulatedNpuError(
                "graph_task_update: what is called here is not what was captured between graph_task_group_begin and "
                "graph_task_group_end. Call the same operators, in the same order, with other arguments."
            )
        task.give(args, kwargs)
        return task.result


class _ThreadState(threading.local):
    mode: _Capture | _Update | None = None


_thread = _ThreadState()


def recorded(kernel: Kernel) -> Kernel:
    """``kernel``, which becomes a task of the graph that its thread captures, or updates one."""

    @functools.wraps(kernel)
    def queued(*args: Any, **kwargs: Any) -> Any:
        mode = _thread.mode
        if mode is None:
            if _streams.state.held_up:
                _streams.refuse_while_held_up(getattr(kernel, "__name__", "an operator"))
            return kernel(*args, **kwargs)
        # What a kernel is made of is a part of its task.
        with _in_mode(None):
            return mode.take(kernel, args, kwargs)

    return queued


@contextlib.contextmanager
def _in_mode(mode: _Capture | _Update | None) -> Iterator[None]:
    outer, _thread.mode = _thread.mode, mode
    try:
        yield
    finally:
        _thread.mode = outer


class ExternalEvent(_streams.Event):
    """An event that a captured graph waits for and that is recorded outside it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.signalled = False
        self.waiting: list[_Replay] = []

    def record(self, stream: Any = None) -> None:
        super().record(stream)
        if not _captured(_Record(self)):
            self.signal()

    def wait(self, stream: Any = None) -> None:
        super().wait(stream)
        _captured(_Wait(self))

    def reset(self, stream: Any = None) -> None:
        _streams.note("event.reset", [], [], stream=_streams.id_of(stream), event=self.number)
        if not _captured(_Reset(self)):
            self.signalled = False

    def signal(self) -> None:
        self.signalled = True
        waiting, self.waiting = self.waiting, []
        for replay in waiting:
            replay.go_on()


def _captured(step: Step) -> bool:
    """Whether a step became one of a graph that this thread captures."""
    mode = _thread.mode
    if isinstance(mode, _Capture):
        mode.steps.append(step)
        return True
    return False


class _Replay:
    """One run of a graph, which stops where it waits for an event."""

    def __init__(self, steps: list[Step]) -> None:
        self._steps = steps
        self._next = 0

    def go_on(self) -> None:
        held_up = _streams.state.held_up
        held_up.pop(id(self), None)
        with _in_mode(None), silently(), torch.inference_mode():
            while self._next < len(self._steps):
                step = self._steps[self._next]
                if isinstance(step, _Wait) and not step.event.signalled:
                    step.event.waiting.append(self)
                    held_up[id(self)] = f"external event {step.event.number}"
                    return
                self._next += 1
                step.run()


class NPUGraph:
    """A graph: what was queued while it was captured."""

    def __init__(self, keep_graph: bool = False) -> None:
        self._marked: contextlib.AbstractContextManager[None] | None = None
        self._capture = _Capture()
        self._steps: list[Step] | None = None

    def capture_begin(self, *args: Any, **kwargs: Any) -> None:
        self._marked = _streams.capture()
        self._marked.__enter__()
        self._capture = _Capture()
        _thread.mode = self._capture

    def capture_end(self) -> None:
        if self._marked is None:
            raise RuntimeError("capture_end() without capture_begin()")
        _thread.mode = None
        self._marked.__exit__(None, None, None)
        self._marked = None
        self._steps = self._capture.steps

    def replay(self) -> None:
        if self._steps is None:
            raise RuntimeError("replay() of a graph without a successful capture: call capture_begin() first")
        _streams.refuse_while_capturing("the replay of a graph")
        _streams.refuse_while_held_up("the replay of a graph")
        _accounting.dispatched("graph.replay", kernel=False)
        _streams.note("graph.replay", [], [])
        _Replay(self._steps).go_on()

    def reset(self) -> None:
        self._steps = None

    def pool(self) -> tuple[int, int]:
        return graph_pool_handle()


def graph_pool_handle() -> tuple[int, int]:
    return (0, 1)


@contextlib.contextmanager
def graph(npu_graph: NPUGraph, pool: Any = None, stream: Any = None, **_: Any) -> Iterator[None]:
    """Capture what the ``with`` block does into ``npu_graph``, on a stream of its own as a real device does."""
    with _streams.on_stream(_streams.new_stream_id() if stream is None else stream.stream_id):
        npu_graph.capture_begin(pool=pool)
        try:
            yield
        except BaseException:
            npu_graph.capture_end()
            npu_graph.reset()
            raise
        npu_graph.capture_end()


def graph_task_group_begin(stream: Any) -> None:
    _streams.note("graph.task_group_begin", [], [], stream=stream.stream_id)
    if isinstance(_thread.mode, _Capture):
        _thread.mode.group = TaskGroup()


def graph_task_group_end(stream: Any) -> TaskGroup:
    _streams.note("graph.task_group_end", [], [], stream=stream.stream_id)
    group = None
    if isinstance(_thread.mode, _Capture):
        group, _thread.mode.group = _thread.mode.group, None
    return TaskGroup() if group is None else group


def graph_task_update_begin(stream: Any, handle: TaskGroup) -> None:
    _streams.note("graph.task_update_begin", [], [], stream=stream.stream_id)
    _thread.mode = _Update(handle)


def graph_task_update_end(stream: Any) -> None:
    _streams.note("graph.task_update_end", [], [], stream=stream.stream_id)
    _thread.mode = None


def _kept(value: Any) -> Any:
    """``value`` with tensors of their own: in place, the program may give its tensors other sizes."""
    if isinstance(value, torch.Tensor):
        return same_memory(value) if is_npu(value) else value
    if isinstance(value, (list, tuple)):
        kept = [_kept(item) for item in value]
        return kept if isinstance(value, list) else tuple(kept)
    return value


def _address(tensor: torch.Tensor) -> int:
    return int(memory_of(tensor).data_ptr())


def _on_host(tensor: torch.Tensor) -> torch.Tensor:
    return alias(tensor) if is_npu(tensor) else tensor
