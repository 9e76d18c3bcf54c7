"""The least that the kernels of a forward cost: the same kernels on the same tensors, called one after another."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from emulated_npu import null_device

Calls = list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]]


class _Recorder(TorchDispatchMode):  # type: ignore[misc]
    """Keeps the operators that put a kernel on the device, with their arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Calls = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = null_device.counts().kernels
        result = func(*args, **(kwargs or {}))
        if null_device.counts().kernels > before:
            self.calls.append((_quick(func), args, kwargs or {}))
        return result


def recorded(forward: Callable[[], Any]) -> Calls:
    """The kernels of a forward; raises where it does others while it is watched."""
    null_device.begin()
    forward()
    wanted = null_device.counts().kernels
    null_device.begin()
    with _Recorder() as recorder:
        forward()
    found = null_device.counts().kernels
    if found != wanted:
        raise RuntimeError(f"watched, the forward has {found} kernels; otherwise it has {wanted}")
    return recorder.calls


def microseconds(calls: Calls, rounds: int = 15) -> float:
    """The median of the thread's time for all of them."""
    found = []
    for _ in range(rounds):
        start = time.thread_time_ns()
        for function, args, kwargs in calls:
            function(*args, **kwargs)
        found.append((time.thread_time_ns() - start) / 1000)
    return statistics.median(found)


def _quick(func: Any) -> Callable[..., Any]:
    """What a program would call: torch's own binding takes less time than the operator's generic one."""
    name = func._schema.name.partition("::")[2]
    if func.namespace == "aten":
        for place in (torch._C._VariableFunctions, torch._C._nn):
            function = getattr(place, name, None)
            if function is not None and not name.startswith("_"):
                return function  # type: ignore[no-any-return]
        if name.endswith("_") and hasattr(torch.Tensor, name):
            return getattr(torch.Tensor, name)  # type: ignore[no-any-return]
    return func  # type: ignore[no-any-return]
