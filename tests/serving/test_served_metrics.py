"""``/metrics`` of a real ``vllm serve``: the states of the patches in all its processes, beside vLLM's own."""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from prometheus_client.parser import text_string_to_metric_families
from serving.served_engines import SERVING, Engines
from serving.serving_site import Site, engine_environment
from serving.vllm_processes import ENGINE_CORE, FRONT_END, roles
from serving.vllm_server import Server

pytestmark = pytest.mark.engine


@dataclass(frozen=True)
class Scraped:
    """The processes of a server by their role, the families of its metrics, and the states that these tell."""

    processes: Mapping[str, int]
    families: set[str]
    states: set[tuple[int, str, str]]

    def applied(self, role: str) -> set[str]:
        pid = self.processes[role]
        return {patch for process, patch, state in self.states if (process, state) == (pid, "applied")}


@pytest.fixture(scope="module")
def one_front_end(engines: Engines, with_plugin: Site, tmp_path_factory: pytest.TempPathFactory) -> Scraped:
    reports = tmp_path_factory.mktemp("reports")
    env = engine_environment(VLLM_CACHE_ROOT=str(engines.cache), ASCEND_PATCHES_REPORT_DIR=str(reports))
    with Server([with_plugin.command("vllm")], env, engines.checkpoint) as server:
        assert server.comes_up(), server.output[-8000:]
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics") as response:
            families = list(text_string_to_metric_families(response.read().decode()))
        processes = {role: pid for pid, role in roles(server.process.pid).items()}
    told = [sample for family in families if family.name == "ascend_patches_state" for sample in family.samples]
    states = {(int(one.labels["pid"]), one.labels["patch"], one.labels["state"]) for one in told if one.value}
    return Scraped(processes, {family.name for family in families}, states)


def test_they_stand_beside_those_of_vllm(one_front_end: Scraped) -> None:
    assert {"ascend_patches_state", "vllm:num_requests_running"} <= one_front_end.families


@pytest.mark.parametrize("role", [FRONT_END, ENGINE_CORE])
def test_they_tell_what_is_applied_in_each_process_that_leaves_a_report(role: str, one_front_end: Scraped) -> None:
    assert set(SERVING) <= one_front_end.applied(role)
