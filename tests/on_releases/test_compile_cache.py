"""vLLM's cache of compiled graphs, on a released vLLM: a graph is found again by the same patches, and by no others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ascend_patches.upstream import fingerprints

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

MODEL = """\
import torch
from toy_layer import scaled
from vllm.compilation.decorators import support_torch_compile


@support_torch_compile(dynamic_arg_dims={"x": 0})
class Toy(torch.nn.Module):
    def __init__(self, *, vllm_config, prefix=""):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2, 2), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return scaled(x @ self.weight)
"""
LAYER = "def scaled(x):\n    return x * 2\n"
PATCH = """\
from ascend_patches import Option, Patch, Rewrite, Variant, always


def scaled(x):
    return x * 5


PATCH = Patch(
    name="toy-scale",
    summary="another factor",
    options={{"nothing": Option(False, "changes the patch set and no code")}},
    variants=(Variant("any", always, (Rewrite("toy_layer:scaled", replace=scaled, fingerprints=("{known}",)),)),),
)
"""
AS_UPSTREAM, AS_PATCHED = 4 * 2 * 2 * 2.0, 4 * 2 * 2 * 5.0

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, a patch of its layer, and settings that the patch does not need."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "toy_model.py").write_text(MODEL)
    (folder / "toy_layer.py").write_text(LAYER)
    (folder / "toy_patches.py").write_text(PATCH.format(known=fingerprints.of_source(LAYER, "scaled")))
    (folder / "patches.toml").write_text("[patches.toy-scale]\nnothing = true\n")
    info = folder / "toy_patches-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-patches\nVersion: 0\n")
    (info / "entry_points.txt").write_text("[ascend_patches.patches]\ntoy = toy_patches:PATCH\n")

    return folder


@pytest.fixture(scope="module")
def compiled(world: Path) -> Callable[..., dict[str, Any]]:
    """Runs the model in a process of its own, over a cache that all processes share."""

    def run(**variables: str) -> dict[str, Any]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ASCEND_", "VLLM"))}
        path = (ROOT / "ascend_patches" / "starting" / "sitecustomize", world, ROOT)
        environ = {
            **inherited,
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "TORCHINDUCTOR_COMPILE_THREADS": "1",
            "VLLM_CACHE_ROOT": str(world / "cache"),
            "VLLM_CPU_KVCACHE_SPACE": "1",
            **variables,
        }
        command: list[str | Path] = [sys.executable, HERE / "compile_cache_run.py"]
        ran = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr[-8000:]
        found: dict[str, Any] = json.loads(ran.stdout.strip().splitlines()[-1])
        return found

    return run


@pytest.fixture(scope="module")
def unpatched(compiled: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """The first process: nothing is patched, and nothing is in the cache."""
    return compiled(ASCEND_PATCHES="off")


@pytest.fixture(scope="module")
def patched(unpatched: dict[str, Any], compiled: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """The second one, with a patch, over the first one's cache."""
    return compiled()


def test_the_first_process_compiles(unpatched: dict[str, Any]) -> None:
    assert (unpatched["answer"], unpatched["found"]) == (AS_UPSTREAM, False)


def test_vllm_itself_would_go_on_with_the_graph_from_before_the_patch(
    unpatched: dict[str, Any], compiled: Callable[..., dict[str, Any]]
) -> None:
    stale = compiled(ASCEND_PATCHES_DISABLE="compile-cache")
    assert (stale["answer"], stale["found"]) == (AS_UPSTREAM, True)


def test_a_graph_from_before_the_patch_is_not_used(patched: dict[str, Any]) -> None:
    assert (patched["answer"], patched["found"]) == (AS_PATCHED, False)


def test_the_same_patches_find_their_graph_again(
    patched: dict[str, Any], compiled: Callable[..., dict[str, Any]]
) -> None:
    again = compiled()
    assert (again["answer"], again["found"]) == (AS_PATCHED, True)


def test_without_patches_the_first_graph_is_found_again(
    patched: dict[str, Any], compiled: Callable[..., dict[str, Any]]
) -> None:
    again = compiled(ASCEND_PATCHES="off")
    assert (again["answer"], again["found"]) == (AS_UPSTREAM, True)


def test_another_option_of_a_patch_makes_it_another_set(
    patched: dict[str, Any], compiled: Callable[..., dict[str, Any]], world: Path
) -> None:
    assert compiled(ASCEND_PATCHES_CONFIG=str(world / "patches.toml"))["found"] is False


def test_the_key_that_is_made_after_tracing_names_the_patches_too(patched: dict[str, Any]) -> None:
    factors = json.loads((Path(patched["folder"]) / "cache_key_factors.json").read_text())
    assert "ascend_patches " in factors["compiler_hash"]
