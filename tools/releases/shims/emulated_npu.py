"""Puts the emulated NPU where vllm-ascend looks for a real one.

torch loads torch_npu by itself where that is installed, so the emulated one comes with torch as well: at the end of
``import torch``.
"""

from __future__ import annotations

import os
from types import ModuleType

from ._after_import import after_import


def start() -> None:
    """Install the emulated NPU as soon as torch is there."""
    after_import("torch", _install)


def _install(torch: ModuleType) -> None:
    import emulated_npu

    # What a real NPU refuses in float32 is wanted for comparing two runs bitwise.
    allow_float32 = bool(os.environ.get("ASCEND_PATCHES_RELEASE_FLOAT32"))
    emulated_npu.install(os.environ["ASCEND_PATCHES_RELEASE_TORCH_NPU"], allow_float32=allow_float32)
