"""``ascend-patches bench`` on released packages: both sides of an encoder, on a device that does nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from releases import runner
from releases.pairs import Pair, find
from releases.store import Store
from tiny_qwen3_vl import write

ASCEND = find("vllm-ascend==0.23.0")
ALONE = find("vllm==0.32.0")
Bench = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = pytest.mark.upstream


@pytest.fixture
def bench(store: Store, tmp_path: Path) -> Bench:
    """Runs the command on a pair; the emulated NPU, which starts with other tests, is not in the process."""

    def run(pair: Pair, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("ASCEND_PATCHES", "VLLM"))}
        environ = runner.environment(pair, store, environ, without=["emulated_npu"]) | variables
        line = [sys.executable, "-m", "ascend_patches", "bench", "--model", str(tmp_path), *arguments]
        return subprocess.run(line, env=environ, capture_output=True, text=True, timeout=600)

    return run


QUICK = ("--images", "1", "--frames", "4", "--size", "64x96", "--turns", "2", "--json")


@pytest.mark.parametrize("pair", [ALONE, ASCEND], ids=lambda pair: pair.name)
def test_both_sides_of_a_checkpoint_are_timed(pair: Pair, bench: Bench, tmp_path: Path) -> None:
    write(tmp_path)
    done = bench(pair, *QUICK)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["encoder"], found["weights"]) == ("Qwen3-VL", "of the checkpoint")
    assert found["device"]["name"] == "a device that does nothing"
    assert [each["grids"] for each in found["inputs"]] == [[[1, 6, 4]], [[2, 6, 4]]]
    assert "qwen3-vl-vision" in [patch["name"] for patch in found["patches"] if patch["state"] == "applied"]
    for each in found["inputs"]:
        assert list(each["microseconds"]) == ["host"]
        assert each["microseconds"]["host"]["ratio"] > 0


def test_where_every_patch_is_off_there_is_nothing_to_compare(bench: Bench, tmp_path: Path) -> None:
    write(tmp_path)
    done = bench(ASCEND, *QUICK, ASCEND_PATCHES="off")
    assert done.returncode == 1
    assert "no patch is applied, so there is nothing to compare" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_of_another_kind_is_named(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    done = bench(ASCEND, *QUICK)
    assert done.returncode == 1
    assert "is a 'llama', whose vision encoder cannot be built here; known: " in done.stderr
    assert "Traceback" not in done.stderr
