"""The errors of the emulated NPU itself; what a real NPU refuses is refused with torch's own error types."""

from __future__ import annotations


class EmulatedNpuError(RuntimeError):
    """The emulated NPU cannot do what was asked of it, for a reason that a real one would not have."""


class TorchTooOldError(EmulatedNpuError):
    """The installed torch has no way to put a device into it from Python."""


class RealTorchNpuError(EmulatedNpuError):
    """The real torch_npu is loaded in this process, and there is room for one npu device."""


class BackendTakenError(EmulatedNpuError):
    """Another backend took the one place that torch keeps for a device from outside."""
