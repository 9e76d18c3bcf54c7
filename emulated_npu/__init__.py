"""An NPU for machines without one: a device whose work is counted, and the torch_npu ops on it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._accounting import Copy, Log, Wait, record
    from ._beside import STAND_INS, install_stand_ins
    from ._device import installed
    from ._errors import BackendTakenError, EmulatedNpuError, RealTorchNpuError, TorchTooOldError
    from ._install import install
    from ._memory import adopt, alias, is_npu
    from ._ops._state import allow_float32
    from ._schemas import RELEASES, UnknownReleaseError
    from ._streams import identity as tensor_id
    from ._streams import trace
    from ._torch_npu import install_ops_on_cpu
    from ._torchvision import define_ops_of_an_unloadable_extension as let_torchvision_import
    from ._trace import TensorId, Trace, TraceEvent

_HOMES = {
    "install": "_install",
    "install_ops_on_cpu": "_torch_npu",
    "installed": "_device",
    "install_stand_ins": "_beside",
    "STAND_INS": "_beside",
    "RELEASES": "_schemas",
    "allow_float32": "_ops._state",
    "let_torchvision_import": "_torchvision:define_ops_of_an_unloadable_extension",
    "record": "_accounting",
    "Log": "_accounting",
    "Copy": "_accounting",
    "Wait": "_accounting",
    "trace": "_streams",
    "Trace": "_trace",
    "TraceEvent": "_trace",
    "TensorId": "_trace",
    "tensor_id": "_streams:identity",
    "alias": "_memory",
    "adopt": "_memory",
    "is_npu": "_memory",
    "UnknownReleaseError": "_schemas",
    "EmulatedNpuError": "_errors",
    "TorchTooOldError": "_errors",
    "RealTorchNpuError": "_errors",
    "BackendTakenError": "_errors",
}
"""The public names and the modules they are in (after a colon: under another name). A module is imported when a name of
it is first used: vLLM imports this package in every process that could want the emulated platform, and torch must not
be loaded there."""

__all__ = [
    "install",
    "install_ops_on_cpu",
    "installed",
    "install_stand_ins",
    "STAND_INS",
    "RELEASES",
    "allow_float32",
    "let_torchvision_import",
    "record",
    "Log",
    "Copy",
    "Wait",
    "trace",
    "Trace",
    "TraceEvent",
    "TensorId",
    "tensor_id",
    "alias",
    "adopt",
    "is_npu",
    "UnknownReleaseError",
    "EmulatedNpuError",
    "TorchTooOldError",
    "RealTorchNpuError",
    "BackendTakenError",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, inner = _HOMES[name].partition(":")
    return getattr(importlib.import_module(f"{__name__}.{module}"), inner or name)
