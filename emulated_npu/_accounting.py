"""What the emulated NPU was asked to do: copies, waits and dispatches, counted exactly.

What is counted where:

* a *dispatch* is one operator call that reached the device; composite operators count as what they are made of.
  A *kernel* is a dispatch that is not a view.
* a *device-to-host copy* is every tensor, or single element, that left the device: ``.cpu()``, ``.to("cpu")``,
  ``.tolist()``, ``item()``, ``bool(tensor)``, printing a tensor (on a real NPU that is a copy as well).
  ``non_blocking`` copies are counted too and keep the flag.
* a *wait* is every other way in which the host stood still for the device: ``item()``, operators whose result
  size depends on values (``nonzero``, ``masked_select``, ``unique``, boolean-mask indexing, ...), ``equal``, and
  ``synchronize()`` of device, stream or event. ``item()`` is thereby listed as a copy of one element and as a wait.
* ``Log.stalls`` is how often the host stood still: blocking copies to the host and waits, ``item()`` once.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from types import FrameType
from typing import Any

import torch

from ._watching import Watchers

ITEM = "item"

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_TORCH = os.path.dirname(os.path.abspath(torch.__file__)) + os.sep
_SELF_CHECK = _PACKAGE + "_self_check.py"


@dataclass(frozen=True)
class Copy:
    """One tensor that crossed between host and device."""

    shape: tuple[int, ...]
    dtype: str
    bytes: int
    non_blocking: bool
    cause: str
    where: str


@dataclass(frozen=True)
class Wait:
    """One time the host stood still for the device without copying a whole tensor."""

    cause: str
    where: str


@dataclass
class Log:
    """What happened on the device while a ``record()`` was open."""

    device_to_host: list[Copy] = field(default_factory=list)
    host_to_device: list[Copy] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)
    kernels_by_operator: Counter[str] = field(default_factory=Counter)
    views_by_operator: Counter[str] = field(default_factory=Counter)

    @property
    def kernels(self) -> int:
        return self.kernels_by_operator.total()

    @property
    def dispatches(self) -> int:
        return self.kernels + self.views_by_operator.total()

    @property
    def by_operator(self) -> Counter[str]:
        return self.kernels_by_operator + self.views_by_operator

    @property
    def stalls(self) -> int:
        blocking = [copy for copy in self.device_to_host if not copy.non_blocking and copy.cause != ITEM]
        return len(blocking) + len(self.waits)

    def to_dict(self) -> dict[str, Any]:
        return {
            "dispatches": self.dispatches,
            "kernels": self.kernels,
            "stalls": self.stalls,
            "device_to_host": [asdict(copy) for copy in self.device_to_host],
            "host_to_device": [asdict(copy) for copy in self.host_to_device],
            "waits": [asdict(wait) for wait in self.waits],
            "kernels_by_operator": dict(sorted(self.kernels_by_operator.items())),
            "views_by_operator": dict(sorted(self.views_by_operator.items())),
        }

    def to_json(self, *, indent: int | None = None) -> str:
        return json.dumps(self.to_dict(), indent=indent)

    def table(self) -> str:
        return "\n".join(_table_lines(self))


_records: Watchers[Log] = Watchers()


def record(*, all_threads: bool = False) -> AbstractContextManager[Log]:
    """Record what this thread (or every thread) does on the device while the ``with`` block runs."""
    return _records.watching(Log(), all_threads=all_threads)


def recording() -> bool:
    return _records.any


def dispatched(name: str, *, view: bool = False) -> None:
    """Report one operator call that reached the device."""
    if not _records.any:
        return
    with _records.reporting() as logs:
        for log in logs:
            (log.views_by_operator if view else log.kernels_by_operator)[name] += 1


def copied_to_host(tensor: torch.Tensor, cause: str, *, non_blocking: bool = False) -> None:
    """Report that the values of ``tensor`` left the device."""
    if not _records.any:
        return
    copy = _describe(tensor, cause, non_blocking)
    with _records.reporting() as logs:
        for log in logs:
            log.device_to_host.append(copy)


def copied_to_device(tensor: torch.Tensor, cause: str, *, non_blocking: bool = False) -> None:
    """Report that the values of ``tensor`` went to the device."""
    if not _records.any:
        return
    copy = _describe(tensor, cause, non_blocking)
    with _records.reporting() as logs:
        for log in logs:
            log.host_to_device.append(copy)


def waited(cause: str) -> None:
    """Report that the host stood still for the device."""
    if not _records.any:
        return
    wait = Wait(cause, _calling_line())
    with _records.reporting() as logs:
        for log in logs:
            log.waits.append(wait)


def _describe(tensor: torch.Tensor, cause: str, non_blocking: bool) -> Copy:
    return Copy(
        shape=tuple(tensor.shape),
        dtype=str(tensor.dtype).removeprefix("torch."),
        bytes=tensor.numel() * tensor.element_size(),
        non_blocking=non_blocking,
        cause=cause,
        where=_calling_line(),
    )


def _calling_line() -> str:
    """The innermost Python line outside torch and this package."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        path = _path_outside(frame.f_code.co_filename)
        if path:
            return f"{path}:{frame.f_lineno} in {frame.f_code.co_name}"
        frame = frame.f_back
    return "(no Python caller)"


@functools.cache
def _path_outside(filename: str) -> str | None:
    path = os.path.abspath(filename)
    return path if path == _SELF_CHECK or not path.startswith((_PACKAGE, _TORCH)) else None


def _table_lines(log: Log) -> Iterator[str]:
    yield f"dispatches {log.dispatches}, kernels {log.kernels}, stalls {log.stalls}"
    for title, copies in (("device to host", log.device_to_host), ("host to device", log.host_to_device)):
        yield f"{title}: {len(copies)}"
        for copy, times in Counter(copies).items():
            flag = ", non-blocking" if copy.non_blocking else ""
            yield f"  {times} x {copy.cause} {copy.dtype}{list(copy.shape)} {copy.bytes} B{flag}  {copy.where}"
    yield f"waits: {len(log.waits)}"
    for wait, times in Counter(log.waits).items():
        yield f"  {times} x {wait.cause}  {wait.where}"
    yield "operators:"
    width = max((len(name) for name in log.by_operator), default=0)
    for name, times in sorted(log.by_operator.items(), key=lambda entry: (-entry[1], entry[0])):
        yield f"  {name:<{width}}  {times}{'  view' if name in log.views_by_operator else ''}"
