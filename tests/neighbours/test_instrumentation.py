"""Beside opentelemetry-instrument and ddtrace-run: both work, whoever comes first on the path."""

from __future__ import annotations

import http.server
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from neighbours.processes import environ_of_a_service
from support import Environment, Result, World, run

BIN = Path(sys.executable).parent

NOBODY_COLLECTS = {
    "opentelemetry-instrument": {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")},
    # Given to ddtrace-run, those would switch it off.
    "ddtrace-run": {
        "DD_TRACE_AGENT_URL": "http://127.0.0.1:9",
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "DD_REMOTE_CONFIGURATION_ENABLED": "false",
    },
}

SERVICE = """
import builtins, json, sys
import requests, vllm.engine
from ascend_patches import revert_patches, status

def is_traced():
    return requests.get(sys.argv[1]).text == "traced"

seen = [vllm.engine.greet("you"), is_traced(), status()["activated_by"]]
revert_patches()
print(json.dumps([*seen, vllm.engine.greet("you"), is_traced(), getattr(builtins, "users", False)]))
"""
"""Asks a server; what instruments it adds a header to that request."""


class _Traced(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        answer = b"traced" if "traceparent" in self.headers else b"not traced"
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server that says whether a request was traced."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Traced) as serving:
        threading.Thread(target=serving.serve_forever).start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


class Commands:
    """The start of a service, by commands that each start the next one."""

    def __init__(self, installed: Environment, world: World, server: str) -> None:
        self.installed = installed
        self._world = world
        service = world.write("service.py", SERVICE)
        python = str(installed.python)
        self.service = [python, str(service), server]
        self.ours = [python, "-m", "ascend_patches", "run", "--"]
        self.theirs = {
            name: ["/usr/bin/env", *(f"{key}={value}" for key, value in env.items()), python, str(BIN / name)]
            for name, env in NOBODY_COLLECTS.items()
        }

    def run(self, *commands: list[str], user: bool = False) -> Result:
        if user:
            self._world.write("sitecustomize.py", "import builtins\nbuiltins.users = True\n")
        # In the world's folder, because opentelemetry-instrument adds the current one.
        env = {**environ_of_a_service(), "PYTHONPATH": str(self._world.folder)}
        command = [part for command in (*commands, self.service) for part in command]
        return run(command, env=env, cwd=self._world.folder)


@pytest.fixture
def commands(installed: Environment, greeting: World, server: str) -> Commands:
    return Commands(installed, greeting, server)


both = pytest.mark.parametrize("neighbour", ["opentelemetry-instrument", "ddtrace-run"])


@both
def test_the_neighbour_alone_traces(neighbour: str, commands: Commands) -> None:
    assert commands.run(commands.theirs[neighbour]).json[:2] == ["upstream you!", True]


@both
def test_ours_in_front_of_it_on_the_path(neighbour: str, commands: Commands) -> None:
    result = commands.run(commands.theirs[neighbour], commands.ours)
    assert result.json[:3] == ["patched you!", True, "sitecustomize"]


def test_ours_behind_ddtrace_run_which_runs_the_next_sitecustomize(commands: Commands) -> None:
    result = commands.run(commands.ours, commands.theirs["ddtrace-run"])
    assert result.json[:3] == ["patched you!", True, "sitecustomize"]


def test_ours_behind_opentelemetry_instrument_which_does_not(commands: Commands) -> None:
    result = commands.run(commands.ours, commands.theirs["opentelemetry-instrument"])
    assert result.json[:3] == ["patched you!", True, "sitecustomize, behind opentelemetry-instrument"]


@both
def test_ours_by_a_pth_file(neighbour: str, commands: Commands) -> None:
    commands.installed.install_hook()
    assert commands.run(commands.theirs[neighbour]).json[:3] == ["patched you!", True, ".pth"]


@both
def test_undo_leaves_the_neighbour_at_work(neighbour: str, commands: Commands) -> None:
    assert commands.run(commands.theirs[neighbour], commands.ours).json[3:5] == ["upstream you!", True]


def test_all_three_on_top_of_each_other(commands: Commands) -> None:
    result = commands.run(commands.theirs["ddtrace-run"], commands.ours, commands.theirs["opentelemetry-instrument"])
    assert result.json[:2] == ["patched you!", True]


@pytest.mark.parametrize("order", ["ours first", "theirs first"])
def test_a_users_own_sitecustomize_runs_behind_both(order: str, commands: Commands) -> None:
    both = [commands.theirs["ddtrace-run"], commands.ours]
    result = commands.run(*(both if order == "ours first" else reversed(both)), user=True)
    assert result.json == ["patched you!", True, "sitecustomize", "upstream you!", True, True]


@both
def test_switched_off_ours_leaves_the_neighbour_alone(neighbour: str, commands: Commands) -> None:
    result = commands.run(commands.ours, commands.theirs[neighbour], ["/usr/bin/env", "ASCEND_PATCHES=off"])
    assert result.json[:3] == ["upstream you!", True, None]
