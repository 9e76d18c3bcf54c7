"""Whether the emulated NPU is used here, and how to get it: it is a distribution of its own, not in a deployment."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

from ascend_patches._version import __version__
from ascend_patches.errors import AscendPatchesError


class EmulatedNpuMissingError(AscendPatchesError):
    """The emulated NPU was asked for and is not installed in this environment."""


def in_use() -> bool:
    """Whether the device ``npu`` of this process is the emulated one; imports nothing."""
    module = sys.modules.get("emulated_npu")
    return module is not None and bool(module.installed())


def required() -> ModuleType:
    """The module ``emulated_npu``."""
    try:
        return importlib.import_module("emulated_npu")
    except ModuleNotFoundError as error:
        if error.name != "emulated_npu":
            raise
        raise EmulatedNpuMissingError(
            f"the emulated NPU is not installed for {sys.executable}, and ascend-patches {__version__} does not bring "
            "it: a serving environment has no use for it. Install it with "
            f"`{sys.executable} -m pip install emulated-npu`, or from a clone of ascend-patches with "
            f"`{sys.executable} -m pip install ./emulated_npu`; its only requirement is torch 2.10 or later."
        ) from None
