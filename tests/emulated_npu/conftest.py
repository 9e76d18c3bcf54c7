"""The emulated device, installed once for this directory's pytest process, and fresh processes beside it."""

from __future__ import annotations

import subprocess
import textwrap
from collections.abc import Callable

import fresh_process
import pytest

from emulated_npu import _device


@pytest.fixture(scope="session")
def npu() -> str:
    """The name of the emulated device, which exists from here on."""
    _device.install()
    return "npu"


@pytest.fixture(scope="session")
def run_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a piece of Python in a fresh process, in which torch is imported and the device is not installed."""

    def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return fresh_process.run(textwrap.dedent(code), arguments)

    return run
