"""tools/bench_vision: what it writes, without measuring anything, and what the package carries of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from vision_bench import report

from ascend_patches.commands import measured
from ascend_patches.patches import PATCHES

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs" / "benchmarks-vision"


def cost(waits: int, dispatches: float) -> dict[str, float]:
    return {
        "waits": waits,
        "stalls": max(0, waits - 1),
        "dispatches": dispatches,
        "kernels": dispatches / 2,
        "hidden": 1.0,
        "attention_kernels": 5.0,
        "attention_hidden": 0.5,
    }


def results() -> dict[str, Any]:
    encoder = {
        "upstream": cost(27, 54.9),
        "patched": cost(0, 22.6),
        "difference": {"float32": 0.0, "bfloat16": 0.0},
    }
    name = "vllm-ascend==0.23.0"
    release = {"measured": "2026-01-02", "encoders": {"Qwen3-VL": encoder}}
    return {"layers": 27, "wanted": [name], "releases": {name: release}}


class TestThePage:
    def test_has_upstream_and_patched_side_by_side(self) -> None:
        row = (
            "| Qwen3-VL | vllm-ascend==0.23.0 | 27 -> 0 | 26 -> 0 | 27.4 -> 11.3 | 1.0 -> 1.0 | 5.0 -> 5.0 "
            "| 0.5 -> 0.5 | 54.9 -> 22.6 | 0, 0 |"
        )
        assert row in report.page(results()).splitlines()

    def test_names_what_is_not_measured_yet(self) -> None:
        unfinished = results()
        unfinished["wanted"].append("vllm==0.32.0")
        assert "Not measured yet: vllm==0.32.0." in report.page(unfinished)
        assert "Not measured yet" not in report.page(results())

    def test_says_where_patched_is_worse(self) -> None:
        worse = results()
        worse["releases"]["vllm-ascend==0.23.0"]["encoders"]["Qwen3-VL"]["patched"]["kernels"] = 30.0
        assert "* Qwen3-VL, vllm-ascend==0.23.0: kernels per layer 27.4 -> 30.0" in report.page(worse).splitlines()
        assert "Nowhere do the patches add" in report.page(results())

    def test_says_when_it_was_measured(self) -> None:
        assert "Measured on 2026-01-02." in report.page(results())


class TestWhatThePackageCarries:
    def test_is_what_the_page_was_made_of(self) -> None:
        found = json.loads(DOCS.with_suffix(".json").read_text(encoding="utf-8"))
        packaged = json.loads((ROOT / "ascend_patches" / "commands" / "measured.json").read_text(encoding="utf-8"))
        assert packaged == report.carried(found), "run tools/bench_vision --write"
        assert DOCS.with_suffix(".md").read_text(encoding="utf-8").startswith(report.page(found))
        assert DOCS.with_suffix(".svg").read_text(encoding="utf-8") == report.plot(found)

    def test_is_about_patches_that_there_are(self) -> None:
        assert set(report.carried(results())) <= {patch.name for patch in PATCHES}

    def test_says_what_each_release_cost_before_and_after(self) -> None:
        about, line = measured.in_words(report.carried(results())["qwen3-vl-vision"])
        assert about == "a forward of 27 layers on the emulated NPU, all vision patches off -> on; 2026-01-02"
        assert line == (
            "Qwen3-VL, vllm-ascend 0.23.0: waits 27 -> 0, kernels per layer 27.4 -> 11.3, "
            "dispatches per layer 54.9 -> 22.6"
        )

    def test_is_nothing_for_a_patch_that_was_not_measured(self) -> None:
        assert measured.of_patch("a-stranger's") is None


class TestExplain:
    @pytest.mark.parametrize(
        "patch", ["mm-encoder-attention", "rotary-embedding", "qwen3-vl-vision", "vision-seq-lens"]
    )
    def test_shows_the_numbers_of_a_patch(self, patch: str) -> None:
        found = measured.of_patch(patch)
        assert found is not None
        said = " ".join(explain(patch, "--all").split())
        assert [line for line in measured.in_words(found) if line not in said] == []

    def test_has_them_as_data(self) -> None:
        data = json.loads(explain("qwen3-vl-vision", "--json"))
        assert data["measured"] == measured.of_patch("qwen3-vl-vision")

    def test_says_nothing_of_a_patch_that_was_not_measured(self) -> None:
        assert json.loads(explain("mla-multistream", "--json"))["measured"] is None


def explain(*arguments: str) -> str:
    command = [sys.executable, "-m", "ascend_patches", "explain", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout


def test_without_the_releases_it_says_what_to_fetch(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "tools" / "bench_vision"), "vllm==0.13.0"]
    environ = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == 2
    assert "Fetch it first: tools/upstream fetch" in done.stderr
    assert "Traceback" not in done.stderr
