"""Programs that a package manager installs: without one, its tests are skipped and say what to install."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable
from typing import TypeVar

import pytest

PATIENCE = 120
Seen = TypeVar("Seen")


def program(name: str, package: str) -> str:
    """The path of a program; skips the test where it is not installed."""
    path = shutil.which(name)
    if path is None:
        raise pytest.skip.Exception(f"{name} is not installed here: apt-get install {package}")
    return path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def seen(look: Callable[[], Seen | None]) -> Seen:
    """What is seen as soon as something is; fails where nothing comes within the patience of these tests."""
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        found = look()
        if found is not None:
            return found
        time.sleep(0.2)
    raise AssertionError(f"not seen within {PATIENCE} s")
