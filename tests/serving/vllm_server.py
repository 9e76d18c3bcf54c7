"""A real ``vllm serve`` as a child of the test: started, waited for, asked, looked into, ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from serving.questions import MODEL
from serving.vllm_processes import WORKER, roles

READY = "Application startup complete."
PATIENCE = 400


class Server:
    """One ``vllm serve``, from its start to its end."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], checkpoint: Path, *options: str) -> None:
        self.port = _free_port()
        arguments = [
            *command,
            *("serve", str(checkpoint), "--host", "127.0.0.1", "--port", str(self.port)),
            *(
                "--served-model-name",
                MODEL,
                "--dtype",
                "float32",
                "--enforce-eager",
                "--gpu-memory-utilization",
                "0.25",
            ),
            *("--max-model-len", "1024", "--max-num-seqs", "4", "--limit-mm-per-prompt", '{"image": 2}'),
            *options,
        ]
        self.process = subprocess.Popen(
            arguments, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        self.lines: list[str] = []
        self._ready_or_ended = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.terminate()
        self.ended()

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def comes_up(self) -> bool:
        """Wait until it serves, or has ended."""
        assert self._ready_or_ended.wait(PATIENCE), f"neither up nor ended:\n{self.output}"
        return any(READY in line for line in self.lines) and self._listens()

    def _listens(self) -> bool:
        """Wait until it takes connections, which it does a moment after it has said that it is ready."""
        while self.process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE):
                    return True
            except ConnectionRefusedError:
                time.sleep(0.05)
        return False

    def ended(self) -> int:
        """Wait for its end, and see to it that nothing of it stays behind; its exit code."""
        try:
            return self.process.wait(60)
        finally:
            kill_group(self.process.pid)
            self._reader.join()
            assert self.process.stdout is not None
            self.process.stdout.close()

    def kill_worker(self) -> None:
        worker = next(pid for pid, role in roles(self.process.pid).items() if role == WORKER)
        os.kill(worker, signal.SIGKILL)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if READY in line:
                self._ready_or_ended.set()
        self._ready_or_ended.set()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def kill_group(group: int) -> None:
    """End what may be left of a process that was started as the first of its session."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
