"""Beside vllm-ascend's own worker, which patches vLLM as well: every patch of ours stays, and no answer changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from on_releases.pairs_under_test import OnPair, by_name
from releases.pairs import Pair, find

SCRIPT = Path(__file__).with_name("beside_worker_run.py")
RELEASES = ("0.13.0", "0.18.0", "0.19.1rc1", "0.23.0", "0.26.0rc1", "0.30.0rc2")
PAIRS = [find(f"vllm-ascend=={release}") for release in RELEASES]
VARIABLES = {"ASCEND_PATCHES_RELEASE_FLOAT32": "1", "ASCEND_PATCHES_ENABLE": "mla-kv-overlap"}
ORDERS = ("ours, release", "release, ours")
pytestmark = [pytest.mark.upstream, pytest.mark.costly, by_name(PAIRS)]


@pytest.fixture(scope="module")
def found(pair: Pair, on_pair: OnPair) -> dict[str, Any]:
    """What each order gives, each in a process of its own."""
    steps = ("release", "ours", *ORDERS)
    return {step: on_pair(pair, SCRIPT, step, **VARIABLES) for step in steps}


def test_the_release_s_own_worker_patches_are_all_in_place(found: dict[str, Any]) -> None:
    assert found["release"]["worker"]
    assert [found[order]["worker"] == found["release"]["worker"] for order in ORDERS] == [True, True]


@pytest.mark.parametrize("order", ORDERS)
def test_every_patch_that_applies_alone_applies_beside_them_or_says_why_not(found: dict[str, Any], order: str) -> None:
    alone, beside = found["ours"]["patches"], found[order]["patches"]
    assert "applied" in {state for state, _ in alone.values()}
    changed = {name: beside[name] for name, (state, _) in alone.items() if beside[name][0] != state}
    assert {name: said for name, said in changed.items() if not said[1]} == {}
    assert {name: said for name, said in changed.items() if said[0] in ("failed", "waiting")} == {}
    assert {name: said for name, said in changed.items() if "which it relies on, now belongs to" in said[1]} == {}


@pytest.mark.parametrize("order", ORDERS)
def test_every_answer_has_the_bits_that_it_has_without_our_patches(found: dict[str, Any], order: str) -> None:
    assert found["release"]["outputs"]
    assert found[order]["outputs"] == found["release"]["outputs"]
