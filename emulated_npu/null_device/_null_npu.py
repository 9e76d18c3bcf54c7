"""The functions of ``torch.npu`` on the null device: this module becomes it.

Streams and events are torch's own over the C++ device, as torch_npu's are; what costs nothing in a forward is the
emulated device's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from emulated_npu import _npu_module as _emulated

_PRIVATE_USE_1 = int(torch._C._autograd.DeviceType.PrivateUse1)


def __getattr__(name: str) -> Any:
    return getattr(_emulated, name)


def is_available() -> bool:
    return True


def is_initialized() -> bool:
    return True


def _lazy_init() -> None:
    pass


def _is_in_bad_fork() -> bool:
    return False


def device_count() -> int:
    return 1


def current_device() -> int:
    return 0


class Stream(torch.Stream):  # type: ignore[misc]
    """A stream of the null device."""

    def __new__(cls, device: Any = None, priority: int = 0, **known: Any) -> Any:
        if "stream_id" in known:
            return super().__new__(cls, **known)
        return super().__new__(cls, "npu:0", priority=priority)

    @property
    def npu_stream(self) -> int:
        return int(self.stream_id)


class Event(torch.Event):  # type: ignore[misc]
    """An event of the null device."""

    def __new__(cls, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False) -> Any:
        return super().__new__(cls, "npu:0", enable_timing=enable_timing)


class ExternalEvent(Event):
    """An event that a captured graph waits for; nothing is captured here."""


def current_stream(device: Any = None) -> Stream:
    found = torch._C._accelerator_getStream(0)
    return _stream(found.stream_id)


def default_stream(device: Any = None) -> Stream:
    return _stream(0)


def _stream(number: int) -> Stream:
    found: Stream = Stream(stream_id=number, device_index=0, device_type=_PRIVATE_USE_1)
    return found


def set_stream(stream: Any) -> None:
    torch._C._accelerator_setStream(stream)


@contextlib.contextmanager
def stream(stream: Any) -> Iterator[None]:
    """Put what the ``with`` block does on ``stream``; None leaves the current one."""
    if stream is None:
        yield
        return
    outer = torch._C._accelerator_getStream(0)
    torch._C._accelerator_setStream(stream)
    try:
        yield
    finally:
        torch._C._accelerator_setStream(outer)


def synchronize(device: Any = None) -> None:
    torch._C._accelerator_synchronizeDevice(0)


def is_current_stream_capturing() -> bool:
    return False
