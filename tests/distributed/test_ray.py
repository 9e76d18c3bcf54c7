"""vLLM's distributed engine on two Ray nodes: every worker is patched, by nothing but what is installed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from distributed.cluster import Cluster, kill, with_children, without_wishes

from ascend_patches.reporting import report
from ascend_patches.starting import start_hook

pytestmark = pytest.mark.engine

SERVICE = Path(__file__).with_name("ray_service.py")
APPLIED = ["mm-encoder-attention", "qwen3-vl-vision", "rotary-embedding"]
"""What has an effect on a Qwen3-VL of this vLLM; other patches may be applied or not."""

PATIENCE = 300
"""For an engine to notice that it lost a worker, and to end."""

ENGINE = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "OMP_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}


class Service:
    """One process of the service."""

    def __init__(self, python: Path, checkpoint: Path, *arguments: str, env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [python, SERVICE, checkpoint, *arguments], env=env, stdout=subprocess.PIPE, text=True
        )

    def round(self) -> dict[str, Any]:
        """The next answers."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the service ended"
        answers: dict[str, Any] = json.loads(line)
        return answers

    def ends(self) -> int:
        """Its exit code, once it has ended."""
        return self._process.wait(PATIENCE)

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        kill(with_children(self._process.pid))
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@dataclass(frozen=True)
class Seen:
    """What a service answered, and the reports that its processes had left by then, by process id."""

    answers: dict[str, Any]
    reports: dict[int, dict[str, Any]]

    @property
    def of_workers(self) -> list[dict[str, Any]]:
        return [self.reports[worker["pid"]] for worker in self.answers["workers"]]


def applied(data: dict[str, Any]) -> set[str]:
    return {patch["name"] for patch in data["patches"] if patch["state"] == "applied"}


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What every node and every service has in its environment: nothing that would start the toolkit."""
    folder = tmp_path_factory.mktemp("cluster")
    ours = {"ASCEND_PATCHES_REPORT_DIR": str(folder / "reports"), "VLLM_CACHE_ROOT": str(folder / "cache")}
    return {**without_wishes(), **ENGINE, **ours}


@pytest.fixture(scope="module")
def alone(installed: Path, checkpoint: Path, variables: dict[str, str]) -> dict[str, Any]:
    """What an unpatched engine answers that is distributed over nothing."""
    off = {"ASCEND_PATCHES": "off", "EMULATED_NPU": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    with Service(installed, checkpoint, "--rounds", "1", env={**variables, **off}) as service:
        return service.round()


@pytest.fixture(scope="module")
def cluster(installed: Path, variables: dict[str, str]) -> Iterator[Cluster]:
    cluster = Cluster(installed, variables)
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def on_ray(cluster: Cluster, variables: dict[str, str]) -> dict[str, str]:
    """The environment of a service on the cluster."""
    head = cluster.nodes[0].address
    return {**variables, "EMULATED_NPU": "1", "RAY_ADDRESS": cluster.address, "VLLM_HOST_IP": head}


def seen(service: Service, variables: Mapping[str, str]) -> Seen:
    answers = service.round()
    reports, problems = report.read(variables["ASCEND_PATCHES_REPORT_DIR"])
    assert problems == []
    return Seen(answers, {data["pid"]: data for data in reports})


@dataclass(frozen=True)
class Run:
    """A service that ran until one of its nodes was lost, and the one that was started in its place."""

    first: Seen
    exit_code: int
    second: Seen


@pytest.fixture(scope="module")
def run(cluster: Cluster, installed: Path, checkpoint: Path, on_ray: dict[str, str]) -> Run:
    with Service(installed, checkpoint, "--on-ray", env=on_ray) as service:
        first = seen(service, on_ray)
        cluster.lose_the_second_node()
        exit_code = service.ends()
    cluster.join()
    with Service(installed, checkpoint, "--on-ray", "--rounds", "1", env=on_ray) as service:
        second = seen(service, on_ray)
    return Run(first, exit_code, second)


def test_the_workers_are_on_different_nodes(run: Run) -> None:
    assert sorted(worker["node"] for worker in run.first.answers["workers"]) == ["127.0.0.2", "127.0.0.3"]


@pytest.mark.parametrize("patch", APPLIED)
def test_a_patch_is_on_in_every_ray_worker(patch: str, run: Run) -> None:
    assert [patch in applied(data) for data in run.first.of_workers] == [True, True]


def test_no_patch_failed_in_a_ray_worker(run: Run) -> None:
    assert [patch for data in run.first.of_workers for patch in data["patches"] if patch["state"] == "failed"] == []


def test_it_is_the_installed_entry_point_that_activates_there(run: Run) -> None:
    assert [data["activated_by"] for data in run.first.of_workers] == ["vllm plugin", "vllm plugin"]


def test_the_answers_are_those_of_an_unpatched_engine_in_one_process(run: Run, alone: dict[str, Any]) -> None:
    assert run.first.answers["tokens"] == alone["tokens"]


def test_a_lost_node_ends_the_service_as_it_does_without_us(run: Run) -> None:
    assert run.exit_code != 0


def test_after_the_restart_the_patches_are_on_again(run: Run) -> None:
    assert {data["pid"] for data in run.second.of_workers}.isdisjoint(data["pid"] for data in run.first.of_workers)
    assert [applied(data) for data in run.second.of_workers] == [applied(data) for data in run.first.of_workers]


def test_after_the_restart_the_answers_are_the_same(run: Run, alone: dict[str, Any]) -> None:
    assert run.second.answers["tokens"] == alone["tokens"]


ASK_A_WORKER = """
import json, os, sys
import ray

def seen():
    waits = any(hasattr(finder, "run_next_sitecustomize") for finder in sys.meta_path)
    return [waits, os.environ.get("ASCEND_PATCHES_DISABLE")]

ray.init(log_to_driver=False)
print(json.dumps([seen(), ray.get(ray.remote(seen).remote())]))
"""


def test_neither_the_path_nor_the_variables_of_a_driver_reach_ray_workers(
    cluster: Cluster, installed: Path, on_ray: dict[str, str]
) -> None:
    # What doctor tells an operator; should Ray change, this is where it is noticed.
    wish = {"PYTHONPATH": start_hook.sitecustomize_folder(), "ASCEND_PATCHES_DISABLE": "all"}
    asked = subprocess.run(
        [installed, "-c", ASK_A_WORKER], env={**on_ray, **wish}, capture_output=True, text=True, timeout=PATIENCE
    )
    assert asked.returncode == 0, asked.stderr[-4000:]
    assert json.loads(asked.stdout.splitlines()[-1]) == [[True, "all"], [False, None]]
