"""Installs the device and the torch_npu ops on it."""

from __future__ import annotations

from . import _device, _schemas, _torch_npu


def install(torch_npu: str = _schemas.NEWEST, *, allow_float32: bool = False) -> None:
    """Give this process the device npu and the ops of one torch_npu release.

    ``allow_float32`` lets the attention ops take float32, which a real NPU refuses, for bitwise comparisons.
    """
    _device.install()
    _torch_npu.install(torch_npu, allow_float32=allow_float32)
