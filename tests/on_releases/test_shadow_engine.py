"""A real engine with a patch that is wrong finds it out while it serves, and from then on answers as without it.

vLLM 0.32 with a tiny Qwen2.5-VL on the emulated platform. The patch gives layers that look at whole frames the windows
of the first layer: sums are equal, nothing fails, and the answers are wrong.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SEES_THE_PATCH = HERE / "layer_index_patches.py"

pytestmark = pytest.mark.engine


class Served(NamedTuple):
    """What an engine answered, and what its processes say of their patches."""

    answers: list[Any]
    patches: list[dict[str, Any]]
    stderr: str

    def states(self, name: str) -> set[str]:
        return {patch["state"] for patch in self.patches if patch["name"] == name}

    def shadowed(self, name: str, what: str) -> int:
        shadows = [patch["shadow"] for patch in self.patches if patch["name"] == name and patch["shadow"] is not None]
        return sum(shadow[what] for shadow in shadows)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wrong patch as somebody's distribution, and the emulated platform's plugin."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "layer_index_patches.py").write_text(SEES_THE_PATCH.read_text())
    for name, entry_points in (
        ("layer_index_patches", "[ascend_patches.patches]\nwrong = layer_index_patches:PATCH\n"),
        ("platform", "[vllm.platform_plugins]\nemulated_npu = emulated_npu.vllm_plugin:plugin\n"),
    ):
        info = folder / f"{name}-0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0\n")
        (info / "entry_points.txt").write_text(entry_points)
    (folder / "patches.toml").write_text('[patches.layer-index-lengths]\nunknown = "apply"\n')
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-qwen2.5-vl")
    subprocess.run([sys.executable, ROOT / "tools" / "tiny_qwen2_5_vl.py", folder], check=True, capture_output=True)
    return folder


def serve(world: Path, checkpoint: Path, reports: Path, **variables: str) -> Served:
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("ASCEND_PATCHES", "VLLM", "RAY"))
    }
    path = (ROOT / "ascend_patches" / "starting" / "sitecustomize", world, ROOT)
    environ = {
        **inherited,
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "EMULATED_NPU": "1",
        "ASCEND_PATCHES_CONFIG": str(world / "patches.toml"),
        "ASCEND_PATCHES_REPORT_DIR": str(reports),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "VLLM_CACHE_ROOT": str(reports / "cache"),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_PLUGINS": "emulated_npu",
        **variables,
    }
    command: list[str | Path] = [sys.executable, HERE / "shadow_engine_run.py", checkpoint, reports / "answers.json"]
    ran = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=540)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-8000:]
    reported = [json.loads(path.read_text()) for path in reports.glob("ascend_patches-*.json")]
    patches = [patch for report in reported for patch in report["patches"]]
    return Served(json.loads((reports / "answers.json").read_text()), patches, ran.stderr)


WRONG = "layer-index-lengths"
WRONG_ALONE = {"ASCEND_PATCHES_DISABLE": "all", "ASCEND_PATCHES_ENABLE": WRONG}


@pytest.fixture(scope="module")
def unpatched(world: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Served:
    return serve(world, checkpoint, tmp_path_factory.mktemp("reports"), ASCEND_PATCHES="off")


@pytest.fixture(scope="module")
def shadowed(world: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """With the wrong patch, and a fifth of the calls compared: the first that goes wrong is in the second request."""
    reports = tmp_path_factory.mktemp("reports")
    return serve(world, checkpoint, reports, ASCEND_PATCHES_SHADOW="0.2", **WRONG_ALONE)


@pytest.fixture(scope="module")
def shipped(world: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """With the patches of this package, and every call compared."""
    reports = tmp_path_factory.mktemp("reports")
    return serve(world, checkpoint, reports, ASCEND_PATCHES_SHADOW="1", ASCEND_PATCHES_DISABLE=WRONG)


def test_the_patch_is_wrong(
    unpatched: Served, world: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    patched = serve(world, checkpoint, tmp_path_factory.mktemp("reports"), **WRONG_ALONE)
    assert "applied" in patched.states(WRONG)
    assert all(ours != theirs for ours, theirs in zip(patched.answers, unpatched.answers, strict=True))


def test_a_serving_engine_reverts_it_by_itself(shadowed: Served) -> None:
    # In the engine core; the front end has the class as well, and never calls it.
    assert ("reverted" in shadowed.states(WRONG), shadowed.shadowed(WRONG, "mismatches")) == (True, 1)


def test_from_then_on_it_answers_exactly_like_the_unpatched_one(shadowed: Served, unpatched: Served) -> None:
    assert shadowed.answers[0] != unpatched.answers[0]
    assert shadowed.answers[1:] == unpatched.answers[1:]


def test_it_says_once_what_was_wrong_and_with_what(shadowed: Served) -> None:
    said = [line for line in shadowed.stderr.splitlines() if f"{WRONG} differs from the original" in line]
    assert len(said) == 1
    assert all(word in said[0] for word in ("MMEncoderAttention.forward_oot: off by", "query [", "cu_seqlens ["))


@pytest.mark.parametrize("name", ["mm-encoder-attention", "rotary-embedding", "vision-seq-lens", "vision-blocks"])
def test_the_shipped_patches_are_compared_and_stay(name: str, shipped: Served) -> None:
    assert (shipped.states(name), shipped.shadowed(name, "mismatches")) == ({"applied"}, 0)
    assert (shipped.shadowed(name, "compared") > 0, shipped.shadowed(name, "left_out")) == (True, 0)


def test_an_engine_whose_patches_are_shadowed_answers_as_the_unpatched_one(shipped: Served, unpatched: Served) -> None:
    tokens = [[answer[0] for answer in served.answers] for served in (shipped, unpatched)]
    assert tokens[0] == tokens[1]
