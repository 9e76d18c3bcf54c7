"""Vision encoders that a compiler sees: the patches add no graph, no graph break and no recompilation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from on_releases.pairs_under_test import OnPair, by_name
from releases.pairs import Pair, find

SCRIPT = Path(__file__).with_name("compiled_encoders_run.py")
PAIRS = [
    find(name) for name in ("vllm==0.32.0", "vllm-ascend==0.18.0", "vllm-ascend==0.28.0rc1", "vllm-ascend==0.30.0rc2")
]
# From 0.28 on vLLM compiles encoders when it is asked to.
COMPILE_THEM_THEMSELVES = [
    find(name) for name in ("vllm==0.28.0", "vllm==0.32.0", "vllm-ascend==0.28.0rc1", "vllm-ascend==0.30.0rc2")
]
BY_USERS = ("Qwen3-VL", "Qwen2-VL", "Qwen2.5-VL", "Qwen3-Omni")
BY_VLLM = ("Qwen3-VL", "Qwen2.5-VL")
OF_ENCODERS = ("mm-encoder-attention", "qwen3-vl-vision", "vision-seq-lens", "vision-blocks")
pytestmark = [pytest.mark.upstream, pytest.mark.costly]


@pytest.fixture(scope="module")
def by_users(pair: Pair, on_pair: OnPair) -> Any:
    return on_pair(pair, SCRIPT, "torch.compile", *BY_USERS, ASCEND_PATCHES_RELEASE_FLOAT32="1")["found"]


@pytest.fixture(scope="module")
def run_by_vllm(pair: Pair, on_pair: OnPair) -> Any:
    return on_pair(pair, SCRIPT, "compile_mm_encoder", *BY_VLLM, ASCEND_PATCHES_RELEASE_FLOAT32="1")


@pytest.fixture(scope="module")
def by_vllm(run_by_vllm: Any) -> Any:
    return run_by_vllm["found"]


@by_name(PAIRS)
class TestBlocksThatAUserCompiles:
    def test_are_refused_where_upstream_is_refused_and_nowhere_else(self, by_users: Any) -> None:
        assert refusals(by_users, "patched") == refusals(by_users, "upstream")

    def test_become_no_more_graphs_whatever_shapes_come(self, by_users: Any) -> None:
        assert gained(by_users, "graphs") == {}

    def test_run_no_more_graphs(self, by_users: Any) -> None:
        assert gained(by_users, "runs") == {}

    def test_compute_the_same_bits(self, by_users: Any, pair: Pair) -> None:
        # Attention that no compiler sees has another kernel on vLLM alone.
        compared = [one for one in by_users if pair.ascend or one["way"] == "whole blocks"]
        assert [named(one) for one in compared if not one["equal"]] == []


@by_name(COMPILE_THEM_THEMSELVES)
class TestEncodersThatVllmCompiles:
    def test_have_every_patch_of_theirs_on(self, run_by_vllm: Any) -> None:
        assert [name for name in OF_ENCODERS if run_by_vllm["patches"][name] != "applied"] == []

    def test_are_refused_where_upstream_is_refused_and_nowhere_else(self, by_vllm: Any) -> None:
        assert refusals(by_vllm, "patched") == refusals(by_vllm, "upstream")

    def test_are_compiled_where_vllm_is_alone(self, by_vllm: Any, pair: Pair) -> None:
        # vllm-ascend reads lengths from the device in the middle of a layer, which no compiler takes in one graph.
        assert all(one["upstream"]["refused"] is None for one in by_vllm) is (not pair.ascend)

    def test_are_the_same_graphs_for_every_shape(self, by_vllm: Any) -> None:
        assert [one["patched"]["graphs"] for one in by_vllm] == [one["upstream"]["graphs"] for one in by_vllm]

    def test_compute_the_same_bits(self, by_vllm: Any) -> None:
        assert [named(one) for one in by_vllm if not one["equal"]] == []


def named(one: Any) -> str:
    return f"{one['encoder']}, {one['way']}"


def refusals(found: Any, side: str) -> dict[str, str | None]:
    return {named(one): one[side]["refused"] for one in found}


def gained(found: Any, what: str) -> dict[str, Any]:
    """Where the patched side has more in any forward: both sides, forward by forward."""
    return {
        named(one): (one["upstream"][what], one["patched"][what])
        for one in found
        if any(new > old for old, new in zip(one["upstream"][what], one["patched"][what], strict=True))
    }
