"""An NPU for machines without one: a device whose work is counted, and the torch_npu ops on it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._accounting import Copy, Log, Wait, record
    from ._device import installed
    from ._errors import BackendTakenError, EmulatedNpuError, RealTorchNpuError, TorchTooOldError
    from ._install import install
    from ._memory import adopt, alias, is_npu
    from ._streams import trace
    from ._torch_npu import install_ops_on_cpu
    from ._trace import TensorId, Trace, TraceEvent

_HOMES = {
    "install": "_install",
    "install_ops_on_cpu": "_torch_npu",
    "installed": "_device",
    "record": "_accounting",
    "Log": "_accounting",
    "Copy": "_accounting",
    "Wait": "_accounting",
    "trace": "_streams",
    "Trace": "_trace",
    "TraceEvent": "_trace",
    "TensorId": "_trace",
    "alias": "_memory",
    "adopt": "_memory",
    "is_npu": "_memory",
    "EmulatedNpuError": "_errors",
    "TorchTooOldError": "_errors",
    "RealTorchNpuError": "_errors",
    "BackendTakenError": "_errors",
}
"""The public names and the modules they are in, imported when first asked for: vLLM imports this package in every
process that could want the emulated platform, and torch must not be loaded there."""

__all__ = [
    "install",
    "install_ops_on_cpu",
    "installed",
    "record",
    "Log",
    "Copy",
    "Wait",
    "trace",
    "Trace",
    "TraceEvent",
    "TensorId",
    "alias",
    "adopt",
    "is_npu",
    "EmulatedNpuError",
    "TorchTooOldError",
    "RealTorchNpuError",
    "BackendTakenError",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
