"""Under the process managers of web servers: patches are on in every worker, and its metrics say so."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from neighbours.processes import Server, serving
from support import Environment, World

BIN = Path(sys.executable).parent

ANSWER = """
import json, os
import vllm.engine
from ascend_patches import revert_patches, status

def answer(path):
    if path == "/undo":
        revert_patches()
    seen = {"greeting": vllm.engine.greet("you"), "by": status()["activated_by"], "pid": os.getpid()}
    return json.dumps(seen).encode()
"""

WSGI = (
    ANSWER
    + """
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

requests = Counter("requests", "")

def service(environ, start_response):
    requests.inc()
    start_response("200 OK", [])
    if environ["PATH_INFO"] == "/metrics":
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        return [generate_latest(registry)]
    return [answer(environ["PATH_INFO"])]
"""
)

ASGI = (
    ANSWER
    + """
async def service(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": answer(scope["path"])})
"""
)

GUNICORN = (BIN / "gunicorn", "--bind=fd://{}", "wsgi:service")
PRELOADED = (BIN / "gunicorn", "--bind=fd://{}", "--preload", "--workers=2", "wsgi:service")
UVICORN = (BIN / "uvicorn", "--fd={}", "--lifespan=off", "asgi:service")
UVICORN_WORKERS = (BIN / "uvicorn", "--fd={}", "--lifespan=off", "--workers=2", "asgi:service")


class Start:
    """How a server is started."""

    def __init__(self, installed: Environment, world: World) -> None:
        world.write("wsgi.py", WSGI)
        world.write("asgi.py", ASGI)
        self.folder = world.folder
        self.metrics = world.folder / "metrics"
        self.metrics.mkdir()
        self._installed = installed

    def __call__(self, server: tuple[str | Path, ...], *, hook: bool) -> Any:
        env = {"PYTHONPATH": str(self.folder), "PROMETHEUS_MULTIPROC_DIR": str(self.metrics)}
        run: list[str | Path] = [self._installed.python, "-m", "ascend_patches", "run", "--"]
        if hook:
            self._installed.install_hook()
            run = []
        return serving([*run, self._installed.python, *server], env=env, cwd=self.folder)


@pytest.fixture
def start(installed: Environment, greeting: World) -> Start:
    return Start(installed, greeting)


def answers(server: Server) -> list[dict[str, Any]]:
    return [json.loads(server.get()) for _ in range(4)]


SERVERS = pytest.mark.parametrize(
    "command",
    [GUNICORN, PRELOADED, UVICORN, UVICORN_WORKERS],
    ids=["gunicorn", "gunicorn, preloaded", "uvicorn", "uvicorn, two workers"],
)


@SERVERS
def test_the_patches_are_on_in_the_process_that_answers(command: tuple[str | Path, ...], start: Start) -> None:
    with start(command, hook=False) as server:
        assert {(seen["greeting"], seen["by"]) for seen in answers(server)} == {("patched you!", "sitecustomize")}


@pytest.mark.parametrize("command", [GUNICORN, UVICORN_WORKERS], ids=["gunicorn", "uvicorn, two workers"])
def test_so_they_are_by_a_pth_file(command: tuple[str | Path, ...], start: Start) -> None:
    with start(command, hook=True) as server:
        assert {(seen["greeting"], seen["by"]) for seen in answers(server)} == {("patched you!", ".pth")}


def test_they_can_be_undone_in_a_worker(start: Start) -> None:
    with start(GUNICORN, hook=False) as server:
        assert json.loads(server.get("/undo"))["greeting"] == "upstream you!"


@pytest.mark.parametrize("command", [GUNICORN, PRELOADED], ids=["gunicorn", "gunicorn, preloaded"])
def test_the_metrics_of_all_workers_have_the_state_in_each(command: tuple[str | Path, ...], start: Start) -> None:
    with start(command, hook=False) as server:
        pid = json.loads(server.get())["pid"]
        labels = f'patch="greeting",pid="{pid}",state="applied",variant="only"'
        assert f"ascend_patches_state{{{labels}}} 1.0" in server.get("/metrics").splitlines()
