"""Puts the null device into torch, with torch_npu's operators of one release on it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch

from emulated_npu import _schemas
from emulated_npu._errors import BackendTakenError


@dataclass(frozen=True)
class Counts:
    """What a thread did on the device since ``begin()``."""

    kernels: int
    hidden: int
    """Of the kernels, those that make a strided argument dense."""
    views: int
    waits: int
    """Copies and reads for which the host stood still."""
    stalls: int
    """Of the waits, those before which kernels had been queued."""
    generic: int
    """Of the kernels, those for which torch's Meta kernel worked out the shape, in more time than a rule takes."""


class _State:
    release: str | None = None


_state = _State()


def installed() -> bool:
    """Whether this process has the null device."""
    return _state.release is not None


def install(torch_npu: str = _schemas.NEWEST) -> None:
    """Give this process the device npu and the operators of a torch_npu release, none of which computes anything.

    Compiles the device when it is first used. In a process of its own: there is one device from outside in torch.
    """
    if _state.release is not None:
        if _state.release != torch_npu:
            raise BackendTakenError(
                f"the null device with torch_npu {_state.release} is installed in this process; {torch_npu} cannot be "
                "installed beside it. Use a process of its own."
            )
        return
    schemas = _schemas.schemas(torch_npu)
    taken = torch._C._get_privateuse1_backend_name()
    if taken != "privateuseone":
        raise BackendTakenError(
            f"another backend, {taken!r}, has the one place that torch keeps for a device from outside (PrivateUse1). "
            "Use the null device in a process of its own."
        )
    from . import _building

    torch.ops.load_library(_building.library())
    torch.utils.rename_privateuse1_backend("npu")
    from . import _null_npu

    torch._register_device_module("npu", _null_npu)
    torch.utils.generate_methods_for_privateuse1_backend()
    _state.release = torch_npu
    _define(schemas)
    _put_torch_npu_in_place(torch_npu)


def _define(schemas: Any) -> None:
    for op, schema in schemas.items():
        torch.ops.null_device.define(op.partition("::")[0], schema)


def _put_torch_npu_in_place(release: str) -> None:
    """The emulated NPU's module, over other operators of the same names."""
    from emulated_npu import _torch_npu, _torchair
    from emulated_npu._ops._state import STATE

    STATE.release, STATE.place = release, "npu"
    _torch_npu._build(release, "npu")
    _torchair.install()


def set_costs(*, launch_us: float = 0.0, wait_us: float = 0.0) -> None:
    """Let every kernel and every wait take this much more of the thread's time, as on a real NPU."""
    torch.ops.null_device.set_costs(round(1000 * launch_us), round(1000 * wait_us))


def begin() -> None:
    """Count from here on, with an empty stream."""
    torch.ops.null_device.begin()


def counts() -> Counts:
    return Counts(**dict(zip((field.name for field in fields(Counts)), torch.ops.null_device.counts(), strict=True)))


def without_rule() -> list[str]:
    """The operators that were counted as ``generic``, each with how often."""
    return list(torch.ops.null_device.without_rule())
