"""tools/soak: growth is told from wandering, differences are kept, and a whole short run."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from engines import growth, soak_plot, soaking
from engines.processes import ENGINE_CORE, FRONT_END, WORKER, Process
from engines.running import Engine
from engines.soaking import Soak

ROOT = Path(__file__).resolve().parents[2]
FAKE = Path(__file__).with_name("fake_engine.py")

Series = list[tuple[float, float]]


def series(memory: Callable[[float], float], seconds: int = 600) -> Series:
    return [(float(second), memory(second)) for second in range(0, seconds, 5)]


FLAT = series(lambda second: 700.0)


def leaking(per_minute: float) -> Series:
    return series(lambda second: 700.0 + per_minute * second / 60)


def test_a_leak_grows() -> None:
    assert growth.grows(leaking(5), FLAT)


def test_a_process_that_keeps_its_size_does_not() -> None:
    assert not growth.grows(FLAT, FLAT)


def test_filling_caches_while_warming_up_is_no_growth() -> None:
    filling = series(lambda second: 700.0 + 400 * (1 - math.exp(-second / 30)))
    assert not growth.grows(filling, FLAT)


def test_a_peak_is_no_growth() -> None:
    peak = series(lambda second: 900.0 if 500 < second < 560 else 700.0)
    assert not growth.grows(peak, FLAT)


def test_memory_that_goes_up_and_down_is_no_growth() -> None:
    chosen = random.Random(0)
    assert not growth.grows(series(lambda second: 700.0 + chosen.uniform(-30, 30)), FLAT)


def test_a_leak_is_found_in_memory_that_goes_up_and_down() -> None:
    chosen = random.Random(0)
    assert growth.grows(series(lambda second: 700.0 + second / 10 + chosen.uniform(-30, 30)), FLAT)


def test_growth_that_the_unpatched_engine_has_as_well_is_not_ours() -> None:
    assert not growth.grows(leaking(5), leaking(5))


def test_an_unpatched_engine_that_shrinks_excuses_nothing_and_blames_nothing() -> None:
    assert not growth.grows(FLAT, leaking(-5))


@pytest.mark.parametrize("samples", [[], [(0.0, 700.0)]])
def test_too_few_samples_show_no_growth(samples: Series) -> None:
    assert growth.growth(samples) == 0.0


class Seconds:
    """A clock that a test turns: a second passes whenever it is asked."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


class FakeEngine(Engine):
    """An engine that speaks the protocol, with the processes that a vLLM would have."""

    worker = 3

    def __init__(self, name: str, command: Sequence[str], environ: Mapping[str, str], folder: Path) -> None:
        super().__init__(name, command, environ, folder)
        self.report({"pid": self.worker, "patches": [{"name": "rotary-embedding", "state": "applied"}]})

    def report(self, what: dict[str, Any]) -> None:
        self.reports.mkdir()
        (self.reports / "report.json").write_text(json.dumps(what), encoding="utf-8")

    def processes(self) -> list[Process]:
        return [Process(1, FRONT_END, 500.0), Process(2, ENGINE_CORE, 600.0), Process(self.worker, WORKER, 700.0)]


def soaked(folder: Path, *wrong: str, seconds: float = 20, engine: type[FakeEngine] = FakeEngine) -> Soak:
    """A soak of fake engines, of which the patched one answers these seeds otherwise."""
    with ExitStack() as stack:
        upstream, patched = (
            stack.enter_context(made("fake", [sys.executable, str(FAKE), *arguments], os.environ, folder / name))
            for made, name, arguments in ((FakeEngine, "upstream", ()), (engine, "patched", wrong))
        )
        upstream.started(), patched.started()
        return soaking.soak(upstream, patched, seconds=seconds, seed=1, progress=lambda _: None, clock=Seconds())


def test_equal_answers_for_the_whole_time_are_no_reason_to_complain(tmp_path: Path) -> None:
    found = soaked(tmp_path)
    assert (found.seconds, found.complaints()) == (20.0, [])
    assert found.comparison.equal == found.comparison.requests > 20


def test_the_memory_of_every_process_is_sampled_all_the_time(tmp_path: Path) -> None:
    found = soaked(tmp_path)
    assert {side: {role: len(samples) for role, samples in found.memory[side].items()} for side in found.memory} == {
        side: {FRONT_END: 20, ENGINE_CORE: 20, WORKER: 20} for side in soaking.SIDES
    }


def test_an_answer_that_differs_is_counted_and_kept_with_its_request(tmp_path: Path) -> None:
    seed = soaking.questions.batch(random.Random(1))[0].seed
    found = soaked(tmp_path, str(seed))
    (kept,) = found.differences
    assert (kept["request"]["seed"], kept["patched"]["tokens"]) == (seed, [seed % 7 + 100])
    assert found.complaints() == [f"1 of {found.comparison.requests} requests were answered differently"]


class Unpatched(FakeEngine):
    """An engine in which no patch is on."""

    def report(self, what: dict[str, Any]) -> None:
        super().report({"pid": self.worker, "patches": [{"name": "rotary-embedding", "state": "skipped"}]})


def test_a_patched_engine_in_which_no_patch_is_on_proves_nothing(tmp_path: Path) -> None:
    found = soaked(tmp_path, engine=Unpatched)
    assert found.patches == {"rotary-embedding": "skipped"}
    assert found.complaints() == ["no patch was on in the engine that was to be patched"]


class Restarted(FakeEngine):
    """An engine whose worker is another one each time somebody looks."""

    def processes(self) -> list[Process]:
        self.worker += 1
        return super().processes()


def test_a_worker_that_was_replaced_is_told(tmp_path: Path) -> None:
    told = "the worker of the patched engine is not the process that it was at first"
    assert told in soaked(tmp_path, engine=Restarted).complaints()


def test_a_process_that_grew_is_told_with_what_the_unpatched_one_did() -> None:
    memory = {"upstream": {WORKER: FLAT}, "patched": {WORKER: leaking(5)}}
    found = Soak(seed=1, memory=memory, patches={"rotary-embedding": "applied"})
    assert found.complaints() == ["the worker grew by 30 MiB once it was warm; unpatched by 0 MiB"]


@pytest.fixture
def result() -> dict[str, Any]:
    memory = {"upstream": {WORKER: FLAT, FRONT_END: FLAT}, "patched": {WORKER: leaking(1), FRONT_END: FLAT}}
    return Soak(seed=1, seconds=600.0, memory=memory).to_json()


def test_the_plot_has_a_line_for_each_process_of_each_engine(result: dict[str, Any]) -> None:
    drawn = ElementTree.fromstring(soak_plot.plot(result))
    lines = drawn.findall(".//{http://www.w3.org/2000/svg}polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [len(FLAT)] * 4


def test_the_kept_run_is_a_whole_one_without_complaint_and_its_plot_is_of_it() -> None:
    kept = json.loads((ROOT / "docs" / "soak.json").read_text(encoding="utf-8"))
    assert (kept["complaints"], kept["different"], set(kept["growth_in_mib"])) == ([], 0, set(soaking.ROLES))
    assert (ROOT / "docs" / "soak.svg").read_text(encoding="utf-8") == soak_plot.plot(kept)


@pytest.mark.engine
def test_a_short_run_finds_no_difference(tmp_path: Path) -> None:
    kept = tmp_path / "soak.json"
    command: list[str | Path] = [sys.executable, ROOT / "tools" / "soak", "--minutes", "0.2", "--json", kept]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = json.loads(kept.read_text(encoding="utf-8"))
    assert (found["different"], found["requests"] > 0, set(found["growth_in_mib"])) == (0, True, set(soaking.ROLES))
