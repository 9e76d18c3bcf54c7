"""Ray nodes on this machine, each with an address of its own on the loopback interface and one NPU."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

import psutil

START = ("-m", "ray.scripts.scripts", "start", "--block")
SMALL = ("--num-cpus=2", '--resources={"NPU": 1}', "--object-store-memory=100000000", "--disable-usage-stats")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def with_children(pid: int) -> list[psutil.Process]:
    """A process and all that it started, as far as they still live."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=60)


class Node:
    """One raylet and all that it starts."""

    def __init__(self, python: Path, address: str, env: Mapping[str, str], *role: str) -> None:
        self.address = address
        # Ray puts sockets there, whose paths have to be short.
        self._folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
        place = (f"--node-ip-address={address}", f"--temp-dir={self._folder}")
        self._process = subprocess.Popen(
            [python, *START, *SMALL, *place, *role],
            env={**env, "VLLM_HOST_IP": address},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._process.stdout is not None
        said = []
        for line in self._process.stdout:
            said.append(line)
            if "--block" in line:
                break
        else:
            raise AssertionError("ray start ended before the node was up:\n" + "".join(said))
        self._reader = threading.Thread(target=self._process.stdout.read)
        self._reader.start()

    def stop(self) -> None:
        """As an operator stops it; nothing of it stays behind."""
        processes = with_children(self._process.pid)
        self._process.terminate()
        self._process.wait()
        self._clean_up(processes)

    def lose(self) -> None:
        """As when its power fails: every process at once."""
        self._clean_up(with_children(self._process.pid))

    def _clean_up(self, processes: list[psutil.Process]) -> None:
        kill(processes)
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        shutil.rmtree(self._folder, ignore_errors=True)


class Cluster:
    """Two nodes; the second one can be lost and come back."""

    def __init__(self, python: Path, env: Mapping[str, str]) -> None:
        self._python = python
        self._env = env
        self.address = f"127.0.0.2:{free_port()}"
        head, port = self.address.split(":")
        ports = (f"--port={port}", f"--ray-client-server-port={free_port()}")
        self.nodes = [Node(python, head, env, "--head", *ports, "--include-dashboard=false")]
        self.join()

    def join(self) -> None:
        """A second node."""
        self.nodes.append(Node(self._python, "127.0.0.3", self._env, f"--address={self.address}"))

    def lose_the_second_node(self) -> None:
        self.nodes.pop().lose()

    def stop(self) -> None:
        for node in reversed(self.nodes):
            node.stop()


def without_wishes(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """An environment in which nothing is said about Python's path, vLLM, Ray or the toolkit."""
    ours = ("ASCEND_PATCHES", "VLLM", "RAY", "PYTHON")
    return {name: value for name, value in environ.items() if not name.startswith(ours)}
