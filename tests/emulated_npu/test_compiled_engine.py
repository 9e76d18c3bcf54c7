"""compile_mm_encoder in a whole vLLM on the emulated platform: the patches leave what is compiled as it is."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from test_platform import ENGINE_VARIABLES, ROOT, checkpoint, environment, plugins

__all__ = ["checkpoint", "plugins"]
ENGINE_RUN = Path(__file__).with_name("compiled_engine_run.py")
SITECUSTOMIZE = ROOT / "ascend_patches" / "starting" / "sitecustomize"
pytestmark = pytest.mark.engine


def engine(checkpoint: Path, *paths: Path) -> dict[str, Any]:
    """What an engine of its own processes answered, and what its worker compiled."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        variables = {
            "EMULATED_NPU": "1",
            "VLLM_CACHE_ROOT": folder,
            "VLLM_DISABLE_COMPILE_CACHE": "1",
            "TORCHINDUCTOR_CACHE_DIR": str(Path(folder, "inductor")),
        }
        ran = subprocess.run(
            [sys.executable, ENGINE_RUN, checkpoint, report, '{"compile_mm_encoder": true}'],
            env=environment(*paths, **{**ENGINE_VARIABLES, **variables}),
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-8000:]
        found: dict[str, Any] = json.loads(report.read_text())
        return found


@pytest.fixture(scope="module")
def unpatched(checkpoint: Path, plugins: Path) -> dict[str, Any]:
    return engine(checkpoint, plugins)


@pytest.fixture(scope="module")
def patched(checkpoint: Path, plugins: Path) -> dict[str, Any]:
    return engine(checkpoint, SITECUSTOMIZE, plugins)


def test_the_blocks_are_compiled_and_the_patches_are_on(unpatched: dict[str, Any], patched: dict[str, Any]) -> None:
    assert unpatched["patches"] == {}
    assert patched["patches"]["qwen3-vl-vision"] == "applied"
    assert patched["compiled_blocks"] == unpatched["compiled_blocks"] == [True] * 4


def test_they_gain_no_graph_break(unpatched: dict[str, Any], patched: dict[str, Any]) -> None:
    assert (patched["graph_breaks"], unpatched["graph_breaks"]) == (0, 0)


def test_no_more_graphs_are_compiled(unpatched: dict[str, Any], patched: dict[str, Any]) -> None:
    assert patched["graphs"] == unpatched["graphs"]


def test_the_answers_are_the_same_tokens(unpatched: dict[str, Any], patched: dict[str, Any]) -> None:
    assert patched["tokens"] == unpatched["tokens"]
