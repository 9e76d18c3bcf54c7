"""tools/demo: what it says of what it found, when it complains, and one whole run."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import demo_engine
import pytest
from demo_engine import Demo
from engines.comparing import Comparison
from engines.questions import SHOWN

ROOT = Path(__file__).resolve().parents[2]
SERVING = "mm-encoder-attention"


def patch(name: str, state: str, reason: str = "because") -> dict[str, Any]:
    return {"name": name, "state": state, "reason": reason}


def demo(*in_worker: dict[str, Any], expected: list[str] | None = None, different: tuple[int, ...] = ()) -> Demo:
    """A run whose worker reported these patches."""
    states = {found["name"]: found for found in in_worker}
    return Demo(
        requests=SHOWN,
        vllm={"vllm": "0.32.0", "platform": "EmulatedNpuPlatform"},
        expected=[SERVING] if expected is None else expected,
        model_in="worker",
        states={"front end": states, "worker": states} if in_worker else {},
        comparison=Comparison(requests=5, tokens=40, equal=5 - len(different), largest=3e-6),
        different=list(different),
        tower={"device": {"name": "emulated NPU"}, "cases": [forward(16, 0)], "differences": []},
    )


def forward(before: int | None, after: int | None, milliseconds: float | None = None) -> dict[str, Any]:
    """What a forward of the vision tower costs."""
    rest = {"kernels": before, "dispatches": before, "milliseconds": milliseconds}
    return {"case": "a video", "original": {"copies": before, **rest}, "patched": {"copies": after, **rest}}


def test_it_is_content_where_the_answers_are_equal_and_what_should_be_on_is_on() -> None:
    assert demo(patch(SERVING, "applied")).complaints() == []


@pytest.mark.parametrize("state", ["waiting", "skipped", "failed", "reverted"])
def test_a_patch_that_should_be_on_and_is_not_is_named_with_the_reason(state: str) -> None:
    (complaint,) = demo(patch(SERVING, state, "the disk is full")).complaints()
    assert complaint == f"{SERVING} is {state} in the worker: the disk is full"


def test_a_patch_that_waits_for_another_model_is_no_reason_to_complain() -> None:
    found = demo(patch(SERVING, "applied"), patch("vision-seq-lens", "waiting"), expected=[SERVING, "vision-seq-lens"])
    assert found.complaints() == []


def test_a_worker_without_a_report_is_a_reason_to_complain() -> None:
    assert demo().complaints() == ["no patch is on in the worker: it has left no report"]


def test_where_there_is_no_worker_the_engine_core_is_asked() -> None:
    found = demo(patch(SERVING, "applied"))
    found.model_in = "engine core"
    assert found.complaints() == ["no patch is on in the engine core: it has left no report"]


def test_a_release_for_which_no_patch_is_foreseen_is_a_reason_to_complain() -> None:
    (complaint,) = demo(patch(SERVING, "skipped"), expected=[]).complaints()
    assert "ascend-patches status says why" in complaint


def test_another_answer_is_named_by_what_was_asked() -> None:
    found = demo(patch(SERVING, "applied"), different=(2,))
    assert found.complaints() == ["request 3 (96x160, 128x64) was answered with other tokens"]


def test_complaints_take_the_place_of_what_to_do_next() -> None:
    text = demo_engine.text(demo(patch(SERVING, "failed", "the disk is full")))
    assert text.splitlines()[-2:] == [
        "This is not as it should be:",
        f"  {SERVING} is failed in the worker: the disk is full",
    ]
    assert "Next:" not in text


def test_it_shows_the_state_of_every_patch_in_every_process() -> None:
    text = demo_engine.text(demo(patch(SERVING, "applied"), patch("other", "skipped", "off; for now")))
    assert [line.rstrip() for line in text.splitlines() if "applied" in line or "skipped" in line] == [
        f"  {SERVING}  applied    applied",
        "  other                 skipped    skipped  off",
    ]


def test_it_shows_what_the_vision_tower_costs_before_and_after() -> None:
    lines = demo_engine.text(demo(patch(SERVING, "applied"))).splitlines()
    (row,) = (line for line in lines if "a video " in line)
    assert row.split("  ")[1:3] == ["a video", "16 -> 0"]


def test_on_a_real_device_it_shows_times_and_no_counts() -> None:
    found = demo(patch(SERVING, "applied"))
    found.tower = {"device": {"name": "NPU"}, "cases": [forward(None, None, 1.5)], "differences": []}
    text = demo_engine.text(found)
    assert "1.5 -> 1.5" in text
    assert "copies" not in text


def test_a_vision_tower_that_gives_something_else_is_a_reason_to_complain() -> None:
    found = demo(patch(SERVING, "applied"))
    found.tower["differences"] = ["model: a video: too far from float64"]
    assert found.complaints() == ["model: a video: too far from float64"]


@pytest.mark.engine
def test_the_demo_runs_and_ends_well() -> None:
    ran = subprocess.run([sys.executable, ROOT / "tools" / "demo"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "5 of 5 are equal, token for token" in ran.stdout
    rows = [line.split() for line in ran.stdout.splitlines()]
    for name in demo_engine.SERVE_THIS_MODEL:
        assert [name, "applied", "applied", "applied"] in rows
    (copies,) = (row[2:5] for row in rows if row[:2] == ["a", "video"])
    assert copies == ["4", "->", "0"]
    counts = ran.stdout.partition("One forward of its vision tower")[2].partition("Next:")[0].split()
    assert " ".join(counts) in shown_in_the_picture(), "make it again: tools/demo --picture docs/demo.svg"


def shown_in_the_picture() -> str:
    lines = re.findall(r"<text[^>]*>([^<]*)</text>", (ROOT / "docs" / "demo.svg").read_text(encoding="utf-8"))
    return " ".join(html.unescape(" ".join(lines)).split())


@pytest.mark.engine
def test_the_toy_runs_and_leaves_nothing_active() -> None:
    ran = subprocess.run([sys.executable, ROOT / "tools" / "demo", "--toy"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "toy-segment-lengths is applied" in ran.stdout
    assert "ascend_patches.pth removed" in ran.stdout
