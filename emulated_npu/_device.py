"""Puts the npu device into torch, and says why where that cannot be done."""

from __future__ import annotations

import re
import sys
from typing import Any

import torch

from ._errors import BackendTakenError, RealTorchNpuError, TorchTooOldError
from ._memory import adopt, alias, is_npu
from ._stand_in import StandIn

__all__ = ["adopt", "alias", "install", "installed", "is_npu"]

_OLDEST_TORCH = (2, 10)


class _State:
    """The registrations of the device: torch drops a kernel together with the library that registered it."""

    def __init__(self) -> None:
        self.libraries: list[Any] = []


_state = _State()


def installed() -> bool:
    """Whether this process has the emulated npu device."""
    return bool(_state.libraries)


def install() -> None:
    """Make ``torch.device("npu")`` work in this process; a second call does nothing."""
    if installed():
        return
    _check_torch()
    _check_real_torch_npu()
    _check_backend()
    _name_backend()
    _register_kernels()
    _replace_names()


def _check_torch() -> None:
    found = tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2])
    if found < _OLDEST_TORCH:
        raise TorchTooOldError(
            f"the emulated NPU needs torch 2.10 or later, and this is torch {torch.__version__}: older releases have "
            "no way to add a device from Python. Upgrade torch in the environment that runs the emulation."
        )


def _check_real_torch_npu() -> None:
    module = sys.modules.get("torch_npu")
    if module is not None and not isinstance(module, StandIn):
        home = getattr(module, "__file__", "an unknown place")
        raise RealTorchNpuError(
            f"the real torch_npu is loaded in this process (from {home}), and it owns the device npu. Start the "
            "emulation in a process of its own, with TORCH_DEVICE_BACKEND_AUTOLOAD=0 so that torch does not load it."
        )


def _check_backend() -> None:
    taken = torch._C._get_privateuse1_backend_name()
    if taken != "privateuseone" or hasattr(torch, taken):
        raise BackendTakenError(
            f"another backend, {taken!r}, took the one place that torch keeps for a device from outside (PrivateUse1). "
            "Start the emulation in a process that does not import it."
        )


def _name_backend() -> None:
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    from . import _npu_module

    _setup_privateuseone_for_python_backend("npu", backend_module=_npu_module)
    # A module that is moved keeps its Parameter objects, so that tied and already collected parameters move along.
    torch.__future__.set_swap_module_params_on_conversion(True)


def _register_kernels() -> None:
    from . import _attention, _autocast, _cpu_fallback, _kernels, _pinned, _transfers

    aten = _library("aten")
    for name, kernel in (*_kernels.generic_kernels(but=_transfers.KERNELS), *_transfers.KERNELS.items()):
        aten.impl(name, kernel, "PrivateUse1")
    aten.impl("scaled_dot_product_attention", _attention.fused, "PrivateUse1")
    aten.impl("scaled_dot_product_attention", _attention.differentiable, "AutogradPrivateUse1")
    aten.impl("is_pinned", _pinned.is_pinned, "CPU")
    aten.impl("_pin_memory", _pinned.pin, "CPU")
    for name, kernel in _autocast.autocast_kernels():
        aten.impl(name, kernel, "AutocastPrivateUse1")
    every = _library("_")
    every.fallback(_cpu_fallback.fallback, "PrivateUse1")
    every.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")


def _library(namespace: str) -> Any:
    library = torch.library.Library(namespace, "IMPL")
    _state.libraries.append(library)
    return library


def _replace_names() -> None:
    from . import _torch_names

    _torch_names.install()
