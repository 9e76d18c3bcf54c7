"""What the emulated NPU was asked to do: copies, waits and dispatches, counted exactly.

What is counted where:

* a *dispatch* is one operator call that reached the device; composite operators count as what they are made of.
* a *kernel* is what the device's cores run: every dispatch that is not a view, an allocation, a copy between host and
  device or a cache hint; and the *hidden* ones, which copy strided arguments before the operator's own kernel.
* a *device-to-host copy* is every tensor, or single element, that left the device: ``.cpu()``, ``.to("cpu")``,
  ``.tolist()``, ``item()``, ``bool(tensor)``, printing a tensor (on a real NPU that is a copy as well).
* a *wait* is every time the host stood still for the device: every copy in either direction but a ``non_blocking`` one
  between the device and contiguous pinned memory of the same dtype; ``item()``; operators whose result size depends on
  values (``nonzero``, ``masked_select``, ``unique``, boolean-mask indexing, ...), ``equal``, and ``synchronize()`` of
  device, stream or event. A wait before the first kernel costs next to nothing: ``kernels_before`` tells them apart.
* ``Log.stalls`` is the number of waits.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
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
    pinned: bool = False
    """Whether its memory on the host is pinned."""
    waits: bool = True
    """Whether the host stood still for it."""


@dataclass(frozen=True)
class Wait:
    """One time the host stood still for the device."""

    cause: str
    where: str
    kernels_before: int = field(default=0, compare=False)
    """How many kernels had been queued by then since the record was opened."""


@dataclass
class Log:
    """What happened on the device while a ``record()`` was open."""

    device_to_host: list[Copy] = field(default_factory=list)
    host_to_device: list[Copy] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)
    kernels_by_operator: Counter[str] = field(default_factory=Counter)
    hidden_kernels: Counter[str] = field(default_factory=Counter)
    """Copies of strided arguments, by operator, argument and kernel."""
    views_by_operator: Counter[str] = field(default_factory=Counter)
    others_by_operator: Counter[str] = field(default_factory=Counter)
    """Dispatches without a kernel that are no views: allocations, copies between host and device, cache hints."""

    @property
    def kernels(self) -> int:
        return self.kernels_by_operator.total() + self.hidden_kernels.total()

    @property
    def dispatches(self) -> int:
        return self.by_operator.total()

    @property
    def by_operator(self) -> Counter[str]:
        return self.kernels_by_operator + self.views_by_operator + self.others_by_operator

    @property
    def stalls(self) -> int:
        return len(self.waits)

    @property
    def waits_after_first_kernel(self) -> list[Wait]:
        """The waits that cost something: before the first kernel the device has nothing to finish."""
        return [wait for wait in self.waits if wait.kernels_before]

    def to_dict(self) -> dict[str, Any]:
        return {
            "dispatches": self.dispatches,
            "kernels": self.kernels,
            "stalls": self.stalls,
            "waits_after_first_kernel": len(self.waits_after_first_kernel),
            "device_to_host": [asdict(copy) for copy in self.device_to_host],
            "host_to_device": [asdict(copy) for copy in self.host_to_device],
            "waits": [asdict(wait) for wait in self.waits],
            "kernels_by_operator": dict(sorted(self.kernels_by_operator.items())),
            "hidden_kernels": dict(sorted(self.hidden_kernels.items())),
            "views_by_operator": dict(sorted(self.views_by_operator.items())),
            "others_by_operator": dict(sorted(self.others_by_operator.items())),
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


def dispatched(name: str, *, view: bool = False, kernel: bool = True) -> None:
    """Report one operator call that reached the device."""
    if not _records.any:
        return
    kind = "views_by_operator" if view else "kernels_by_operator" if kernel else "others_by_operator"
    with _records.reporting() as logs:
        for log in logs:
            getattr(log, kind)[name] += 1


def hidden(name: str, kernels: Iterable[str]) -> None:
    """Report kernels that ran before the one of the operator, to copy its argument ``name``."""
    if not _records.any:
        return
    with _records.reporting() as logs:
        for log in logs:
            log.hidden_kernels.update(f"{name}: {kernel}" for kernel in kernels)


def copied_to_host(
    tensor: torch.Tensor, cause: str, *, non_blocking: bool = False, pinned: bool = False, waits: bool = True
) -> None:
    """Report that the values of ``tensor`` left the device."""
    if not _records.any:
        return
    copy = _describe(tensor, cause, non_blocking, pinned, waits)
    with _records.reporting() as logs:
        for log in logs:
            log.device_to_host.append(copy)
            _add_wait(log, copy)


def copied_to_device(
    tensor: torch.Tensor, cause: str, *, non_blocking: bool = False, pinned: bool = False, waits: bool = True
) -> None:
    """Report that the values of ``tensor`` went to the device."""
    if not _records.any:
        return
    copy = _describe(tensor, cause, non_blocking, pinned, waits)
    with _records.reporting() as logs:
        for log in logs:
            log.host_to_device.append(copy)
            _add_wait(log, copy)


def waited(cause: str) -> None:
    """Report that the host stood still for the device."""
    if not _records.any:
        return
    where = _calling_line()
    with _records.reporting() as logs:
        for log in logs:
            log.waits.append(Wait(cause, where, log.kernels))


def _add_wait(log: Log, copy: Copy) -> None:
    if copy.waits:
        log.waits.append(Wait(copy.cause, copy.where, log.kernels))


def _describe(tensor: torch.Tensor, cause: str, non_blocking: bool, pinned: bool, waits: bool) -> Copy:
    return Copy(
        pinned=pinned,
        waits=waits,
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
            flag = "".join(f", {text}" for text, is_so in _flags(copy) if is_so)
            yield f"  {times} x {copy.cause} {copy.dtype}{list(copy.shape)} {copy.bytes} B{flag}  {copy.where}"
    yield f"waits: {len(log.waits)}, after the first kernel {len(log.waits_after_first_kernel)}"
    for wait, times in Counter(log.waits).items():
        yield f"  {times} x {wait.cause}  {wait.where}"
    if log.hidden_kernels:
        yield "hidden copies of strided arguments:"
        for name, times in sorted(log.hidden_kernels.items()):
            yield f"  {times} x {name}"
    yield "operators:"
    width = max((len(name) for name in log.by_operator), default=0)
    for name, times in sorted(log.by_operator.items(), key=lambda entry: (-entry[1], entry[0])):
        yield f"  {name:<{width}}  {times}{_kind(log, name)}"


def _flags(copy: Copy) -> tuple[tuple[str, bool], ...]:
    return ("non-blocking", copy.non_blocking), ("pinned", copy.pinned), ("no wait", not copy.waits)


def _kind(log: Log, name: str) -> str:
    return "  view" if name in log.views_by_operator else "  no kernel" if name in log.others_by_operator else ""
