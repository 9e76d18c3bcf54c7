"""tools/soak --chaos: what happens to the patched engine happens, is counted, and what does not stand it is told."""

from __future__ import annotations

import json
import math
import os
import random
import stat
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from engines import chaos, chaos_plot
from engines.chaos import Chaos
from engines.processes import WORKER, Process
from engines.running import Engine
from engines.storms import SETTINGS, Storms

ROOT = Path(__file__).resolve().parents[2]
FAKE = Path(__file__).with_name("fake_engine.py")


class Seconds:
    """A clock that a test turns: a second passes whenever it is asked."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


class FakeEngine(Engine):
    """An engine that speaks the protocol in one process, which is its worker as well."""

    def __init__(self, name: str, command: Sequence[str], environ: Mapping[str, str], folder: Path) -> None:
        super().__init__(name, command, environ, folder)
        self.reports.mkdir(exist_ok=True)

    def processes(self) -> list[Process]:
        return [Process(self._process.pid, WORKER, 700.0)]


def fake(folder: Path, *arguments: str) -> FakeEngine:
    return FakeEngine("fake", [sys.executable, str(FAKE), *arguments], os.environ, folder)


def storms(folder: Path, status: str = "import sys; sys.exit(0)") -> Storms:
    return Storms(folder / "patches.toml", [sys.executable, "-c", status], os.environ)


def weathered(
    folder: Path,
    *wrong: str,
    seconds: float = 300,
    every: float = 0.5,
    status: str = "pass",
    at_most: float = math.inf,
) -> Chaos:
    """A bad day of a fake engine, which answers these seeds otherwise."""
    with ExitStack() as stack:
        upstream = stack.enter_context(fake(folder / "upstream"))
        return chaos.chaos(
            upstream,
            lambda life: fake(folder / f"patched-{life}", *wrong),
            storms(folder, status),
            seconds=seconds,
            seed=1,
            at_most=at_most,
            every=every,
            progress=lambda _: None,
            clock=Seconds(),
        )


def test_an_engine_that_stands_it_is_no_reason_to_complain(tmp_path: Path) -> None:
    found = weathered(tmp_path)
    assert (found.complaints(), found.failed) == ([], 0)
    assert found.comparison.equal == found.comparison.requests > 20
    assert {"revert", "apply", "worker killed"} <= {kind for _, kind in found.storms}
    assert len(found.lives) == 1 + sum(kind == "worker killed" for _, kind in found.storms)


def test_a_run_ends_when_it_was_to_end_at_the_latest_and_says_how_long_it_served(tmp_path: Path) -> None:
    found = weathered(tmp_path, seconds=3_000, at_most=100)
    assert found.complaints() == []
    assert 0 < found.seconds <= 100
    assert found.to_json()["minutes"] == round(found.seconds / 60, 1)


def test_an_answer_that_differs_is_counted_and_kept(tmp_path: Path) -> None:
    seed = chaos.questions.batch(_after_settings())[0].seed
    found = weathered(tmp_path, str(seed))
    assert found.comparison.different == 1
    assert found.differences[0]["request"]["seed"] == seed
    assert "1 of" in found.complaints()[0]


def _after_settings() -> random.Random:
    chosen = random.Random(1)
    chosen.choice(SETTINGS)
    return chosen


class Dying(FakeEngine):
    """An engine that ends by itself when it is asked."""

    def send(self, requests: Sequence[object]) -> None:
        self.end_now()
        self._process.wait()
        super().send(requests)  # type: ignore[arg-type]


def test_requests_that_fail_though_nothing_was_killed_are_counted(tmp_path: Path) -> None:
    with fake(tmp_path / "upstream") as upstream:
        found = chaos.chaos(
            upstream,
            lambda life: Dying("dying", [sys.executable, str(FAKE)], os.environ, tmp_path / f"patched-{life}"),
            storms(tmp_path),
            seconds=100,
            seed=1,
            progress=lambda _: None,
            clock=Seconds(),
        )
    assert found.failed > 3
    assert any("requests failed that upstream answered" in complaint for complaint in found.complaints())


@pytest.mark.parametrize(
    "status", ["import sys; sys.exit(3)", "import sys; sys.stderr.write('Traceback')", "print(chr(27))"]
)
def test_a_status_that_does_not_stand_what_lies_in_the_folder_is_told(status: str, tmp_path: Path) -> None:
    found = weathered(tmp_path, status=status)
    assert any(complaint.startswith("status --dir: ") for complaint in found.complaints())


def test_a_run_in_which_nothing_happened_shows_nothing(tmp_path: Path) -> None:
    assert "nothing happened" in weathered(tmp_path, every=0.0, seconds=20).complaints()[-1]


def test_hostile_files_are_of_every_kind_and_bear_names_of_processes_that_run(tmp_path: Path) -> None:
    with fake(tmp_path / "engine") as engine:
        engine.started()
        made, chosen = storms(tmp_path), random.Random(3)
        kinds = set()
        for _ in range(60):
            made._hostile_files(engine, chosen)
            for path in engine.reports.iterdir():
                kinds.add((stat.S_IFMT(path.lstat().st_mode), path.lstat().st_size > 10**6))
        names = [path.name for path in engine.reports.iterdir()]
    assert {stat.S_IFIFO, stat.S_IFLNK, stat.S_IFREG} == {kind for kind, _ in kinds}
    assert any(f"-{engine._process.pid}.json" in name for name in names)


def test_reports_have_their_folder_back_afterwards(tmp_path: Path) -> None:
    with fake(tmp_path / "engine") as engine:
        engine.started()
        (engine.reports / "kept").touch()
        storms(tmp_path)._path_taken(engine, random.Random(1))
        assert [path.name for path in engine.reports.iterdir()] == ["kept"]


def test_the_plot_has_a_line_for_each_start_and_a_mark_for_each_thing_that_happened(tmp_path: Path) -> None:
    result = weathered(tmp_path).to_json()
    drawn = ElementTree.fromstring(chaos_plot.plot(result))
    space = "{http://www.w3.org/2000/svg}"
    assert len(drawn.findall(f".//{space}polyline")) == len(result["memory_in_mib"])
    assert len(drawn.findall(f".//{space}path")) == 1 + len(result["storms_at"])


def test_the_kept_run_is_without_complaint_and_its_plot_is_of_it() -> None:
    kept = json.loads((ROOT / "docs" / "chaos.json").read_text(encoding="utf-8"))
    assert (kept["complaints"], kept["different"], kept["failed"]) == ([], 0, 0)
    assert (ROOT / "docs" / "chaos.svg").read_text(encoding="utf-8") == chaos_plot.plot(kept)
