"""The emulated device, installed once for this directory's pytest process."""

from __future__ import annotations

import pytest

import emulated_npu


@pytest.fixture(scope="session", autouse=True)
def npu() -> str:
    """The name of the emulated device; its ops take float32 here, for exact comparisons."""
    emulated_npu.install(allow_float32=True)
    return "npu"
