"""Prometheus metrics: the states of the patches are among those of a process that has some, and cost it nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from support import Result, World

SCRAPE = """
import ascend_patches, os, sys
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families as parsed

def series(text):
    families = [family for family in parsed(text.decode()) if family.name.startswith("ascend_patches")]
    return [{**sample.labels, "name": sample.name, "value": sample.value} for f in families for sample in f.samples]

def scrape():
    return series(generate_latest())

def scrape_files():
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return series(generate_latest(registry))
"""


def run(world: World, code: str, **env: str) -> Result:
    return world.python(code, start=True, env=env)


def states(found: list[dict[str, Any]]) -> list[str]:
    """The states that series of value 1 tell."""
    return [series["state"] for series in found if series["name"] == "ascend_patches_state" and series["value"] == 1]


# In the registry of one process


def test_the_state_of_every_patch_is_among_the_metrics(greeting: World) -> None:
    result = run(greeting, SCRAPE + "import vllm.engine\nprint(json.dumps([scrape(), os.getpid()]))")
    found, pid = result.json
    assert found == [
        {
            "name": "ascend_patches_state",
            "patch": "greeting",
            "state": "applied",
            "variant": "only",
            "pid": str(pid),
            "value": 1.0,
        }
    ]


@pytest.mark.parametrize(
    "code",
    [
        SCRAPE + "import vllm.engine\n",
        "import vllm.engine\n" + SCRAPE,
        SCRAPE + "import vllm.engine, importlib\nimportlib.reload(sys.modules['prometheus_client'])\n",
        SCRAPE + "import vllm.engine\nascend_patches.apply_patches()\n",
    ],
    ids=["prometheus_client first", "vLLM first", "prometheus_client reloaded", "activated twice"],
)
def test_they_are_there_once_whatever_was_imported_first(code: str, greeting: World) -> None:
    assert states(run(greeting, code + "print(json.dumps(scrape()))").json) == ["applied"]


def test_a_prometheus_client_imported_anew_has_them_too(greeting: World) -> None:
    code = (
        "import vllm.engine, prometheus_client\n"
        "for name in [name for name in sys.modules if name.startswith('prometheus_client')]: del sys.modules[name]\n"
    )
    assert states(run(greeting, code + SCRAPE + "print(json.dumps(scrape()))").json) == ["applied"]


def test_a_scrape_tells_the_states_of_its_moment(greeting: World) -> None:
    code = (
        "import vllm\nfound = [scrape()]\n"
        "import vllm.engine\nfound.append(scrape())\n"
        "ascend_patches.revert_patches()\nfound.append(scrape())\nprint(json.dumps(found))"
    )
    assert [states(found) for found in run(greeting, SCRAPE + code).json] == [["waiting"], ["applied"], ["reverted"]]


def test_a_patch_of_which_no_variant_was_chosen_has_an_empty_variant(greeting: World) -> None:
    result = run(
        greeting, SCRAPE + "import vllm.engine\nprint(json.dumps(scrape()))", ASCEND_PATCHES_DISABLE="greeting"
    )
    (series,) = result.json
    assert (series["state"], series["variant"]) == ("skipped", "")


def test_settings_that_cannot_be_used_are_seen_in_the_metrics(greeting: World) -> None:
    settings = greeting.settings("nonsense = 1\n")
    result = run(greeting, SCRAPE + "import vllm.engine\nprint(json.dumps(scrape()))", ASCEND_PATCHES_CONFIG=settings)
    assert states(result.json) == ["skipped"]


def test_one_series_can_be_asked_for_by_name(greeting: World) -> None:
    code = (
        "import vllm.engine, prometheus_client\n"
        "print(json.dumps(series(generate_latest(prometheus_client.REGISTRY.restricted_registry([NAME])))))"
    )
    assert states(run(greeting, SCRAPE + "NAME = 'ascend_patches_state'\n" + code).json) == ["applied"]


def test_a_process_without_metrics_gets_none(greeting: World) -> None:
    result = run(
        greeting,
        "import vllm.engine\nprint(json.dumps([n for n in sys.modules if 'prometheus' in n or 'metrics' in n]))",
    )
    assert result.json == []


def test_switched_off_the_toolkit_is_not_among_the_metrics(greeting: World) -> None:
    code = "import ascend_patches.starting.plugin as p\np.activate()\nimport vllm.engine\nprint(json.dumps(scrape()))"
    assert run(greeting, SCRAPE + code, ASCEND_PATCHES="off").json == []


def test_a_call_costs_what_it_cost(greeting: World) -> None:
    code = (
        "import vllm.engine\nbefore = vllm.engine.greet\n"
        + SCRAPE
        + "scrape()\nprint(json.dumps(vllm.engine.greet is before))"
    )
    assert run(greeting, code).json is True


@pytest.mark.parametrize("mode", ["on", "strict"])
def test_a_prometheus_client_that_we_cannot_use_is_reported_and_hurts_nobody(mode: str, greeting: World) -> None:
    greeting.write("prometheus_client.py", "ANSWER = 42\n")
    result = run(
        greeting,
        "import vllm.engine, prometheus_client as p\nprint(json.dumps([p.ANSWER, vllm.engine.greet('you')]))",
        ASCEND_PATCHES=mode,
    )
    assert result.json == [42, "patched you!"]
    assert [line.partition("metrics: ")[0] for line in result.complaints] == ["ascend_patches: not among the "]


# The other processes, through their reports


def with_a_worker(work: str) -> str:
    """Starts a process that does some work, and goes on living until it is spoken to."""
    code = f"import ascend_patches_start, sys\n{work}\nprint(flush=True)\nsys.stdin.read()"
    return (
        f"import subprocess, vllm\ncode = {code!r}\n"
        "worker = subprocess.Popen([sys.executable, '-c', code], stdin=-1, stdout=-1)\n"
        "assert worker.stdout.readline()\n"
    )


def test_a_worker_that_leaves_a_report_is_in_the_metrics_of_the_front_end(greeting: World, tmp_path: Path) -> None:
    code = "found = scrape()\nworker.communicate()\nprint(json.dumps([found, os.getpid(), worker.pid]))"
    result = run(greeting, SCRAPE + with_a_worker("import vllm.engine") + code, ASCEND_PATCHES_REPORT_DIR=str(tmp_path))
    found, front_end, worker = result.json
    assert {series["pid"]: series["state"] for series in found} == {str(front_end): "waiting", str(worker): "applied"}


def test_a_worker_that_has_ended_is_not(greeting: World, tmp_path: Path) -> None:
    code = "worker.communicate()\nprint(json.dumps(scrape()))"
    result = run(greeting, SCRAPE + with_a_worker("import vllm.engine") + code, ASCEND_PATCHES_REPORT_DIR=str(tmp_path))
    assert states(result.json) == ["waiting"]


def test_a_folder_that_is_not_there_yet_hurts_no_scrape(greeting: World, tmp_path: Path) -> None:
    code = "os.environ['ASCEND_PATCHES_REPORT_DIR'] += '/later'\nprint(json.dumps(scrape()))"
    result = run(greeting, SCRAPE + "import vllm.engine\n" + code, ASCEND_PATCHES_REPORT_DIR=str(tmp_path))
    assert (states(result.json), result.complaints) == (["applied"], [])


def test_a_report_that_makes_no_sense_is_said_once_and_leaves_the_rest_of_the_scrape(
    greeting: World, tmp_path: Path
) -> None:
    code = (
        "import prometheus_client, socket\n"
        "prometheus_client.Gauge('theirs', '').set(3)\n"
        f"open({str(tmp_path)!r} + f'/ascend_patches-{{socket.gethostname()}}-{os.getpid()}.json', 'w').write('[1]')\n"
        "texts = [generate_latest().decode() for _ in range(2)]\n"
        "print(json.dumps([[series(texts[0].encode()), 'theirs 3.0' in texts[0]], texts[0].count('theirs 3.0')]))"
    )
    result = run(greeting, SCRAPE + "import vllm.engine\n" + code, ASCEND_PATCHES_REPORT_DIR=str(tmp_path))
    (found, theirs), _ = result.json
    assert (states(found), theirs) == (["applied"], True)
    assert [line.partition(": ")[2].partition(":")[0] for line in result.complaints] == ["metrics are not complete"]


def test_a_pipe_and_a_name_with_an_escape_neither_hang_nor_empty_a_scrape(greeting: World, tmp_path: Path) -> None:
    code = (
        "import socket\n"
        "sleepers = [subprocess.Popen(['sleep', '60']) for _ in range(3)]\n"
        f"path = {str(tmp_path)!r} + '/ascend_patches-' + socket.gethostname() + '-%d.json'\n"
        "os.mkfifo(path % sleepers[0].pid)\n"
        "data = json.load(open(path % worker.pid))\n"
        "for sleeper, name in zip(sleepers[1:], ['a\\x1b[2J', '\\udc80']):\n"
        "    data['patches'][0]['name'] = name\n"
        "    json.dump({**data, 'pid': sleeper.pid}, open(path % sleeper.pid, 'w'))\n"
        "found = scrape() and scrape()\n"
        "worker.communicate()\n"
        "[sleeper.kill() or sleeper.wait() for sleeper in sleepers]\n"
        "print(json.dumps(found))"
    )
    result = run(greeting, SCRAPE + with_a_worker("import vllm.engine") + code, ASCEND_PATCHES_REPORT_DIR=str(tmp_path))
    assert sorted(states(result.json)) == ["applied", "waiting"]
    (complaint,) = result.complaints
    assert complaint.startswith("ascend_patches: metrics are not complete: ")
    assert "and 2 more" in complaint


# Shadow runs


@pytest.fixture
def compared(world: World) -> World:
    """A patch that is right for short lists only, and whose every call is compared with the original."""
    world.package("vllm", {"engine": "def total(numbers):\n    return sum(numbers)\n"})
    world.patch("quick", {"vllm.engine:total": "total"}, "def total(numbers):\n    return sum(numbers[:2])\n")
    return world


def counted(found: list[dict[str, Any]]) -> dict[str, float]:
    """The counters, without what they have in common."""
    prefix = "ascend_patches_shadow_"
    counters = [series for series in found if series["name"].startswith(prefix)]
    assert {series["patch"] for series in counters} <= {"quick"}
    return {series["name"].removeprefix(prefix): series["value"] for series in counters}


CALLS = "import vllm.engine\nfrom vllm.engine import total\ntotal([1, 2]); total([3]); total([1, 2, 3])\n"


def test_compared_calls_and_those_that_differed_are_counted(compared: World) -> None:
    found = run(compared, SCRAPE + CALLS + "print(json.dumps(scrape()))", ASCEND_PATCHES_SHADOW="1").json
    assert counted(found) == {"compared_total": 3, "mismatches_total": 1}
    assert states(found) == ["reverted"]


def test_without_shadow_runs_there_is_no_such_counter(compared: World) -> None:
    assert counted(run(compared, SCRAPE + CALLS + "print(json.dumps(scrape()))").json) == {}


def test_the_counts_of_a_worker_are_in_the_metrics_of_the_front_end(compared: World, tmp_path: Path) -> None:
    worker = with_a_worker(CALLS)
    code = "found = scrape()\nworker.communicate()\nprint(json.dumps(found))"
    wish = {"ASCEND_PATCHES_SHADOW": "1", "ASCEND_PATCHES_REPORT_DIR": str(tmp_path)}
    assert counted(run(compared, SCRAPE + worker + code, **wish).json)["mismatches_total"] == 1


def test_in_the_multi_process_mode_the_counts_of_all_processes_are_added(compared: World, tmp_path: Path) -> None:
    worker = with_a_worker("import prometheus_client\n" + CALLS)
    code = "found = scrape_files()\nworker.communicate()\nprint(json.dumps(found))"
    wish = {"ASCEND_PATCHES_SHADOW": "1", "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    assert counted(run(compared, SCRAPE + worker + CALLS + code, **wish).json)["mismatches_total"] == 2


# In prometheus_client's multi-process mode


def test_the_files_of_the_multi_process_mode_tell_the_process_too(greeting: World, tmp_path: Path) -> None:
    code = "import vllm.engine\nprint(json.dumps([scrape_files(), os.getpid()]))"
    found, pid = run(greeting, SCRAPE + code, PROMETHEUS_MULTIPROC_DIR=str(tmp_path)).json
    assert {
        "name": "ascend_patches_state",
        "patch": "greeting",
        "state": "applied",
        "variant": "only",
        "pid": str(pid),
        "value": 1.0,
    } in found


def test_a_state_that_was_left_is_0(greeting: World, tmp_path: Path) -> None:
    code = (
        "import vllm\nfound = [scrape_files()]\n"
        "import vllm.engine\nfound.append(scrape_files())\n"
        "ascend_patches.revert_patches()\nfound.append(scrape_files())\nprint(json.dumps(found))"
    )
    found = run(greeting, SCRAPE + code, PROMETHEUS_MULTIPROC_DIR=str(tmp_path)).json
    assert [states(series) for series in found] == [["waiting"], ["applied"], ["reverted"]]
    assert {series["state"]: series["value"] for series in found[-1]} == {"waiting": 0, "applied": 0, "reverted": 1}


def test_every_process_is_in_the_metrics_of_the_one_that_serves_them(greeting: World, tmp_path: Path) -> None:
    worker = with_a_worker("import vllm.engine, prometheus_client")
    code = "found = scrape_files()\nworker.communicate()\nprint(json.dumps([found, os.getpid(), worker.pid]))"
    found, front_end, pid = run(greeting, SCRAPE + worker + code, PROMETHEUS_MULTIPROC_DIR=str(tmp_path)).json
    told = {series["pid"]: series["state"] for series in found if series["value"] == 1}
    assert told == {str(front_end): "waiting", str(pid): "applied"}


def test_a_process_that_has_ended_takes_its_states_with_it(greeting: World, tmp_path: Path) -> None:
    worker = with_a_worker("import vllm.engine, prometheus_client")
    code = "worker.communicate()\nprint(json.dumps(scrape_files()))"
    result = run(greeting, SCRAPE + worker + code, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    assert states(result.json) == ["waiting"]


FORK = """
import vllm.engine, prometheus_client, threading
there = prometheus_client.Counter("theirs", "")
def child():
    there.inc()
    print(json.dumps([scrape_files(), os.getpid()]), flush=True)
    os._exit(0)
"""


def test_a_forked_child_has_the_states_that_it_inherited(greeting: World, tmp_path: Path) -> None:
    code = "pid = os.fork()\nif not pid: child()\nos.waitpid(pid, 0)"
    found, pid = run(greeting, SCRAPE + FORK + code, PROMETHEUS_MULTIPROC_DIR=str(tmp_path)).json
    assert states([series for series in found if series["pid"] == str(pid)]) == ["applied"]


def test_a_child_of_a_process_with_threads_does_not_touch_a_lock_that_one_of_them_may_have_held(
    greeting: World, tmp_path: Path
) -> None:
    code = (
        "done = threading.Event()\nthreading.Thread(target=done.wait).start()\n"
        f"before = os.listdir({str(tmp_path)!r})\n"
        "pid = os.fork()\n"
        f"if not pid:\n    print(json.dumps(os.listdir({str(tmp_path)!r}) == before), flush=True)\n    os._exit(0)\n"
        "os.waitpid(pid, 0)\ndone.set()"
    )
    assert run(greeting, SCRAPE + FORK + code, PROMETHEUS_MULTIPROC_DIR=str(tmp_path)).json is True


def test_a_folder_that_cannot_be_written_is_reported_and_hurts_nobody(greeting: World, tmp_path: Path) -> None:
    code = "import vllm.engine, prometheus_client\nprint(json.dumps(vllm.engine.greet('you')))"
    result = run(greeting, code, PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "not there"))
    assert result.json == "patched you!"
    assert [line.partition(": ")[2].partition(":")[0] for line in result.complaints] == ["metrics cannot be written"]
