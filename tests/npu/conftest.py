"""The emulated device with its ops, installed once for this directory's pytest process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import emulated_npu
from ascend_patches.npu.encoder_call import CALLS
from ascend_patches.patches.mm_encoder_attention.options import OPTIONS


@pytest.fixture(scope="session", autouse=True)
def npu() -> str:
    """The name of the emulated device; its ops take float32 here, for exact comparisons."""
    emulated_npu.install(allow_float32=True)
    return "npu"


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    yield
    OPTIONS.reset()
    assert CALLS.open == []
