"""A real Prometheus with the alert rules that ship, and a process that serves states of patches as vLLM does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from installed_programs import free_port, program, seen
from support import REPOSITORY, World, clean_environ

RULES = REPOSITORY / "docs" / "monitoring" / "alerts.yml"

SERVER = """
import ascend_patches, sys
from prometheus_client import start_http_server
ascend_patches.apply_patches()
import vllm.sound
start_http_server(int(sys.argv[1]), addr="127.0.0.1")
print("serving", flush=True)
for line in sys.stdin:
    import vllm.engine
"""
"""Serves its metrics with one patch applied; a line on its input has it import the module in which the other fails."""

CONFIGURATION = """
global: {{scrape_interval: 200ms, evaluation_interval: 200ms}}
rule_files: [{rules}]
scrape_configs: [{{job_name: vllm, static_configs: [{{targets: ["127.0.0.1:{port}"]}}]}}]
"""


@pytest.fixture
def served(world: World) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The process and its port: the patch ``sound`` is applied, ``broken`` waits and will fail."""
    function = "def greet(name, mark='!'):\n    return name + mark\n"
    world.package("vllm", {"engine": function, "sound": function}, version="0.15.0")
    world.patch("sound", {"vllm.sound:greet": "greet"}, function)
    world.patch("broken", {"vllm.engine:greet": "greet"}, "def greet(other):\n    return other\n")
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(port)],
        env=clean_environ([REPOSITORY, world.folder]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "serving\n"
    yield process, port
    process.communicate()


class Prometheus:
    """A Prometheus that is asked over its API."""

    def __init__(self, port: int) -> None:
        self._address = f"http://127.0.0.1:{port}/api/v1"

    def get(self, path: str) -> Any:
        """The data of an answer; nothing while it is starting."""
        try:
            with urllib.request.urlopen(f"{self._address}/{path}", timeout=10) as response:
                return json.load(response)["data"]
        except (urllib.error.URLError, ConnectionError):
            return None

    def patches(self, state: str) -> set[str]:
        query = urllib.parse.urlencode({"query": f'ascend_patches_state{{state="{state}"}} == 1'})
        found = self.get(f"query?{query}") or {"result": []}
        return {each["metric"]["patch"] for each in found["result"]}

    def firing(self) -> list[dict[str, Any]]:
        return [each for each in (self.get("alerts") or {"alerts": []})["alerts"] if each["state"] == "firing"]


@pytest.fixture
def prometheus(served: tuple[subprocess.Popen[str], int], tmp_path: Path) -> Iterator[Prometheus]:
    """It scrapes the process five times a second, with the rules that ship but for how long a state has to last."""
    command = program("prometheus", "prometheus")
    rules, configuration = tmp_path / "alerts.yml", tmp_path / "prometheus.yml"
    rules.write_text(RULES.read_text(encoding="utf-8").replace("for: 1m", "for: 1s").replace("for: 5m", "for: 1s"))
    configuration.write_text(CONFIGURATION.format(rules=rules, port=served[1]))
    port = free_port()
    process = subprocess.Popen(
        [
            command,
            f"--config.file={configuration}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=dict(os.environ),
    )
    yield Prometheus(port)
    process.terminate()
    process.wait()


def test_the_rules_that_ship_are_rules_of_prometheus() -> None:
    done = subprocess.run([program("promtool", "prometheus"), "check", "rules", RULES], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 rules found" in done.stdout


def test_a_patch_that_fails_raises_its_alert_and_no_other(
    served: tuple[subprocess.Popen[str], int], prometheus: Prometheus
) -> None:
    process, _ = served
    assert seen(lambda: prometheus.patches("applied") or None) == {"sound"}
    assert prometheus.firing() == []
    assert process.stdin is not None
    process.stdin.write("fail\n")
    process.stdin.flush()
    (alert,) = seen(lambda: prometheus.firing() or None)
    assert alert["labels"]["alertname"] == "AscendPatchFailed"
    assert (alert["labels"]["patch"], alert["labels"]["severity"]) == ("broken", "critical")
    assert alert["annotations"]["summary"].startswith(f"broken failed in process {process.pid} of 127.0.0.1:")
