"""Servers of other people's making, started and talked to."""

from __future__ import annotations

import os
import socket
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 60


def environ_of_a_service() -> dict[str, str]:
    """This process's environment without a word about Python, and of the patches with the test's own alone."""
    ours = ("ASCEND_PATCHES", "PYTHON", "VLLM_", "PROMETHEUS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "ASCEND_PATCHES_DISABLE": "all", "ASCEND_PATCHES_ENABLE": "greeting"}


@dataclass(frozen=True)
class Server:
    """A server on this machine; it may still be starting: then whoever asks it waits."""

    port: int

    def get(self, path: str = "/") -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=PATIENCE) as response:
            body: bytes = response.read()
            return body.decode()


@contextmanager
def serving(command: Sequence[str | Path], *, env: Mapping[str, str], cwd: Path) -> Iterator[Server]:
    """Run a server that takes over a listening socket, whose number stands for ``{}`` in its command."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        number = listening.fileno()
        process = subprocess.Popen(
            [os.fspath(part).replace("{}", str(number)) for part in command],
            env={**environ_of_a_service(), **env},
            cwd=cwd,
            pass_fds=[number],
        )
        try:
            yield Server(listening.getsockname()[1])
        finally:
            process.terminate()
            process.wait(PATIENCE)
