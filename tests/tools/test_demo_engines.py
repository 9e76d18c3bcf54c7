"""tools/engines: engines that are started, asked, compared and ended, whatever becomes of them."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from engines import processes, questions, surroundings
from engines.comparing import TIE, Comparison
from engines.questions import Request
from engines.running import Engine, EngineError

FAKE = Path(__file__).with_name("fake_engine.py")
ONE, OTHER = Request("What is this?", ((64, 64),), seed=3), Request("Compare.", ((32, 64), (64, 96)), seed=4)


def engine(folder: Path, *arguments: str, code: str = "") -> Engine:
    """An engine that is the fake one, or a piece of Python."""
    command = [sys.executable, "-c", code] if code else [sys.executable, str(FAKE), *arguments]
    return Engine("under test", command, os.environ, folder)


def test_an_engine_says_what_it_is_once_it_is_ready(tmp_path: Path) -> None:
    with engine(tmp_path) as fake:
        assert fake.started() == {"vllm": "0.32.0", "platform": "Fake"}


def test_an_engine_answers_batch_after_batch(tmp_path: Path) -> None:
    with engine(tmp_path) as fake:
        fake.started()
        batches = [fake.answers([ONE, OTHER]), fake.answers([OTHER])]
    assert [[answer["tokens"] for answer in batch] for batch in batches] == [[[3], [4]], [[4]]]


def test_an_engine_that_does_not_start_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    with (
        engine(tmp_path, code="raise SystemExit('no memory left')") as broken,
        pytest.raises(EngineError, match=r"engine under test has ended; the last lines of its log:\nno memory left"),
    ):
        broken.started()


def test_an_engine_that_dies_between_requests_is_told(tmp_path: Path) -> None:
    with engine(tmp_path, code="print('{}', flush=True)") as dying:
        dying.started()
        dying._process.wait()
        with pytest.raises(EngineError, match="has ended"):
            dying.answers([ONE])


def test_an_engine_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engines.running.PATIENCE", 0.0)
    monkeypatch.setattr("engines.running.POLL", 0.01)
    with (
        pytest.raises(EngineError, match="has not answered for 0 s"),
        engine(tmp_path, code="import time; time.sleep(600)") as silent,
    ):
        silent.started()


def test_no_process_of_an_engine_outlives_it(tmp_path: Path) -> None:
    child = "import subprocess, sys; c = subprocess.Popen(['sleep', '600']); print(c.pid, flush=True); sys.stdin.read()"
    with engine(tmp_path, code=child) as parent:
        pid = int(parent._receive())
    assert ended(pid)


STOPPED = """
import os, pathlib, subprocess, sys, time
from engines.running import Engine, end_engines_when_told_to_stop
end_engines_when_told_to_stop()
sleeper = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)"]
with Engine("asleep", sleeper, os.environ, pathlib.Path(sys.argv[1])) as engine:
    print(engine.started(), flush=True)
    time.sleep(600)
"""


def test_a_program_that_is_told_to_stop_takes_its_engines_with_it(tmp_path: Path) -> None:
    tools = str(Path(surroundings.__file__).parents[1])
    command = [sys.executable, "-c", STOPPED, str(tmp_path)]
    with subprocess.Popen(command, env={"PYTHONPATH": tools}, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        pid = int(program.stdout.readline())
        program.terminate()
        assert program.wait(60) == 143
    assert ended(pid)


def ended(pid: int) -> bool:
    """Whether a process is gone, or only waits for its parent to notice."""
    for _ in range(200):
        status = Path(f"/proc/{pid}/status")
        if not status.exists() or "State:\tZ" in status.read_text():
            return True
        time.sleep(0.05)
    return False


def best(*pairs: tuple[int, float]) -> list[list[float]]:
    return [list(pair) for pair in pairs]


def answer(tokens: Sequence[int], *steps: list[list[float]]) -> dict[str, Any]:
    return {"tokens": list(tokens), "best": list(steps)}


def test_equal_tokens_are_equal_answers_whose_log_probabilities_are_compared() -> None:
    comparison = Comparison()
    one, other = answer([5], best((5, -1.0), (6, -2.0))), answer([5], best((5, -1.25), (6, -2.0)))
    assert comparison.add([one], [other]) == []
    assert (comparison.equal, comparison.tokens, comparison.largest) == (1, 1, 0.25)


def test_other_tokens_are_another_answer() -> None:
    comparison = Comparison()
    one, other = answer([5], best((5, -1.0), (6, -2.0))), answer([6], best((6, -1.0), (5, -2.0)))
    assert comparison.add([one, one], [one, other]) == [1]
    assert (comparison.equal, comparison.different, comparison.ties) == (1, 1, 0)


def test_engines_that_part_at_two_tokens_as_likely_as_each_other_are_not_different() -> None:
    comparison = Comparison()
    one = answer([5], best((5, -1.0), (6, -1.0 - TIE / 2)))
    other = answer([6], best((6, -1.0), (5, -1.0 - TIE / 2)))
    assert comparison.add([one], [other]) == []
    assert (comparison.ties, comparison.different) == (1, 0)


def test_a_tie_of_two_other_tokens_excuses_nothing() -> None:
    comparison = Comparison()
    one = answer([5], best((5, -1.0), (6, -1.0 - TIE / 2)))
    other = answer([9], best((9, -1.0), (8, -1.0 - TIE / 2)))
    assert comparison.add([one], [other]) == [0]


def test_what_comes_after_the_first_other_token_is_not_compared() -> None:
    comparison = Comparison()
    one = answer([5, 1], best((5, -1.0), (6, -1.0)), best((1, -1.0), (2, -2.0)))
    other = answer([6, 1], best((6, -1.0), (5, -1.0)), best((1, -9.0), (2, -9.5)))
    comparison.add([one], [other])
    assert (comparison.ties, comparison.largest) == (1, 0.0)


def test_the_processes_of_an_engine_are_told_by_what_vllm_calls_them(tmp_path: Path) -> None:
    proc = tmp_path
    rows = [(1, 0, "systemd"), (10, 1, "python serve.py"), (11, 10, "VLLM::EngineCore"), (12, 11, "VLLM::Worker")]
    for pid, parent, title in [*rows, (13, 10, "python -c from multiprocessing.resource_tracker"), (20, 1, "other")]:
        (proc / str(pid)).mkdir()
        (proc / str(pid) / "cmdline").write_bytes(title.replace(" ", "\0").encode())
        (proc / str(pid) / "status").write_text(f"Name:\tx\nPPid:\t{parent}\nRssAnon:\t  {pid * 1024} kB\n")
    found = [(process.pid, process.role, process.memory) for process in processes.of_engine(10, proc)]
    assert found == [(10, "front end", 10), (11, "engine core", 11), (12, "worker", 12), (13, "helper", 13)]


def test_a_process_that_ended_while_looked_at_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "10").mkdir()
    assert processes.of_engine(10, tmp_path) == []


def test_the_memory_of_a_running_process_is_known() -> None:
    (this,) = (process for process in processes.of_engine(os.getpid()) if process.pid == os.getpid())
    assert this.memory > 1


def test_random_requests_are_the_same_for_the_same_seed() -> None:
    def asked(seed: int) -> list[list[Request]]:
        chosen = random.Random(seed)
        return [questions.batch(chosen) for _ in range(20)]

    assert asked(1) == asked(1)
    assert asked(1) != asked(2)


def test_random_requests_have_pictures_and_videos_of_many_sizes() -> None:
    chosen = random.Random(0)
    requests = [request for _ in range(50) for request in questions.batch(chosen)]
    assert {len(request.pictures) for request in requests} == set(range(questions.MOST_PICTURES + 1))
    assert len({request.video for request in requests}) > 10


def test_a_request_is_told_by_what_is_seen() -> None:
    assert [str(request) for request in (Request("Hi"), OTHER, Request("", video=(8, 96, 128)))] == [
        "words only",
        "32x64, 64x96",
        "video of 8 frames 96x128",
    ]


@pytest.fixture
def on_ascend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Python that has a vLLM for Ascend, and the folder in which devices are."""
    for package in surroundings.PACKAGES_ON_AN_NPU:
        (tmp_path / "packages" / package).mkdir(parents=True)
        (tmp_path / "packages" / package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "packages")
    devices = tmp_path / "dev"
    devices.mkdir()
    (devices / "davinci_manager").touch()
    return devices


def test_a_device_and_vllm_ascend_are_an_npu_to_run_on(on_ascend: Path) -> None:
    (on_ascend / "davinci3").touch()
    assert surroundings.has_real_npu(on_ascend)


def test_vllm_ascend_without_a_device_is_none(on_ascend: Path) -> None:
    assert not surroundings.has_real_npu(on_ascend)


def test_a_device_without_vllm_ascend_is_none(tmp_path: Path) -> None:
    (tmp_path / "davinci0").touch()
    assert not surroundings.has_real_npu(tmp_path)


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a person may have set, and an environment that costs nothing to make."""
    for name in ("ASCEND_PATCHES", "VLLM_TARGET_DEVICE", "PYTHONPATH", "ASCEND_HOME_PATH"):
        monkeypatch.setenv(name, "set")
    monkeypatch.setattr(surroundings, "engine_environment", lambda: tmp_path / "engine")
    monkeypatch.setattr(surroundings, "overlay", lambda base, folder: base)


@pytest.mark.usefixtures("environ")
def test_on_the_emulated_npu_nothing_is_inherited_that_vllm_or_the_toolkit_would_read(tmp_path: Path) -> None:
    place = surroundings.prepared(tmp_path, real_npu=False)
    assert place.variables["EMULATED_NPU"] == "1"
    assert not {"ASCEND_PATCHES", "VLLM_TARGET_DEVICE", "PYTHONPATH"} & set(place.variables)
    assert (place.interpreter, place.dtype) == (tmp_path / "engine", "float32")


@pytest.mark.usefixtures("environ")
def test_on_an_npu_what_it_was_set_up_with_stays_and_nothing_is_emulated(tmp_path: Path) -> None:
    place = surroundings.prepared(tmp_path, real_npu=True)
    assert {"VLLM_TARGET_DEVICE", "PYTHONPATH", "ASCEND_HOME_PATH"} <= set(place.variables)
    assert not {"ASCEND_PATCHES", "EMULATED_NPU", "VLLM_CPU_KVCACHE_SPACE"} & set(place.variables)
    assert (place.interpreter, place.dtype) == (Path(sys.executable), "bfloat16")
