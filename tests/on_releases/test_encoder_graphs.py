"""Whole encoders as graphs, captured by a release's manager and replayed with other images: the release's own bits.

The guards that look whether a graph is captured are switched off in processes of their own. vllm-ascend's manager says
that it captures in two ways, and either is enough; vLLM's, which has one way, shows each guard that asks for it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from on_releases.pairs_under_test import RUNNABLE, OnPair, by_name, version
from releases.pairs import Pair

SCRIPT = Path(__file__).with_name("encoder_graphs_run.py")
PATCHES = SCRIPT.parents[2] / "ascend_patches"
PAIRS = [pair for pair in RUNNABLE if pair.ascend and version(pair) >= (0, 22)]
"""Releases that can capture an encoder."""
NEWEST = PAIRS[-1:]
OTHERS = {"Qwen2-VL": (0, 22), "Qwen2.5-VL": (0, 22), "GLM-4.1V": (0, 24)}
"""And from which vLLM on these can be captured."""

SAID_BY_VLLM_ASCEND = "capturing"
ATTENTION = "patches.mm_encoder_attention.replacements"
SHARED = "npu.graph_capture"
MUTANTS = {
    "vllm-ascend: neither said nor seen by attention": ("vllm-ascend", SAID_BY_VLLM_ASCEND, ATTENTION),
    "vllm-ascend: neither said nor seen by encoders": ("vllm-ascend", SAID_BY_VLLM_ASCEND, SHARED),
    "vllm: not seen by attention": ("vllm", ATTENTION),
    "vllm: not seen by encoders": ("vllm", SHARED),
}
ONE_OF_TWO = (SAID_BY_VLLM_ASCEND, ATTENTION, SHARED)
OF_NO_CONSEQUENCE = {
    "npu.direct_calls": "calls what modules compute: the same operators, with nothing from the host",
    "npu.encoder_call": "what a call remembers is asked for by those that look themselves",
    "patches.mm_encoder_attention.plans": "has a patch report its first call, which a capture is not",
}
ELSEWHERE = {
    "basics.recording": "defines it",
    "patches.mla_kv_overlap.replacements": "in language models",
    "shadow.run": "tested in tests/npu/test_shadowed_tensors.py",
}

pytestmark = [pytest.mark.upstream, pytest.mark.costly]

_ran: dict[tuple[str, ...], Any] = {}


def ran(pair: Pair, on_pair: OnPair, *words: str, **variables: str) -> Any:
    key = (pair.name, *words)
    if key not in _ran:
        _ran[key] = on_pair(pair, SCRIPT, *words, **variables)
    return _ran[key]


def vllms_manager(pair: Pair, on_pair: OnPair) -> Any:
    return ran(pair, on_pair, "vllm", "Qwen3-VL")


@pytest.fixture
def graphs(pair: Pair, on_pair: OnPair) -> Any:
    return ran(pair, on_pair, "vllm-ascend", "Qwen3-VL")


@by_name(PAIRS)
class TestQwen3VL:
    def test_is_captured_and_replayed_with_the_patches_on(self, graphs: Any) -> None:
        assert {"mm-encoder-attention", "qwen3-vl-vision", "rotary-embedding", "vision-blocks"} <= set(
            graphs["applied"]
        )
        assert graphs["patched"]["refused"] is None
        replays = graphs["patched"]["replays"]
        assert (replays, min(replays.values())) == (graphs["upstream"]["replays"], 1)

    def test_replays_the_bits_of_the_release(self, graphs: Any) -> None:
        assert graphs["patched"]["graph"] == graphs["upstream"]["graph"]

    def test_replays_what_it_computes_eagerly(self, graphs: Any) -> None:
        assert graphs["patched"]["graph"] == graphs["patched"]["eager"] == graphs["upstream"]["eager"]


@by_name(PAIRS)
@pytest.mark.parametrize("encoder", OTHERS)
def test_other_encoders_replay_the_bits_of_the_release(encoder: str, pair: Pair, on_pair: OnPair) -> None:
    found = ran(pair, on_pair, "vllm-ascend", encoder)
    assert found["can_be_captured"] is (version(pair) >= OTHERS[encoder])
    # Or it is refused as the release is: on 0.22.1 Qwen2-VL reads from the device while it is captured.
    assert found["patched"] == found["upstream"]


@by_name(NEWEST)
@pytest.mark.parametrize("encoder", OTHERS)
def test_none_of_them_is_refused_by_the_newest(encoder: str, pair: Pair, on_pair: OnPair) -> None:
    assert ran(pair, on_pair, "vllm-ascend", encoder)["upstream"]["refused"] is None


@by_name(NEWEST)
class TestVllmsManager:
    def test_is_refused_as_the_release_is(self, pair: Pair, on_pair: OnPair) -> None:
        found = vllms_manager(pair, on_pair)
        # The release reads lengths from the device in each layer, which no capture allows.
        assert "not permitted when stream is capturing" in found["upstream"]["refused"]
        assert found["patched"] == found["upstream"]


@by_name(NEWEST)
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_capture_that_no_guard_sees_is_found_out(mutant: str, pair: Pair, on_pair: OnPair, graphs: Any) -> None:
    found = ran(pair, on_pair, *_with_model(*MUTANTS[mutant]))["patched"]
    # A graph with the lengths of its capture, where the release has the right ones, or none.
    assert found["refused"] is None
    assert found["eager"] == graphs["upstream"]["eager"]
    wrong = [images for images, outputs in found["graph"].items() if outputs != graphs["upstream"]["graph"][images]]
    assert wrong == list(graphs["upstream"]["graph"])


@by_name(NEWEST)
@pytest.mark.parametrize("guard", ONE_OF_TWO)
def test_one_of_two_guards_is_enough_in_vllm_ascend(guard: str, pair: Pair, on_pair: OnPair, graphs: Any) -> None:
    found = ran(pair, on_pair, *_with_model("vllm-ascend", guard))
    assert found["patched"] == graphs["upstream"]


@by_name(NEWEST)
@pytest.mark.parametrize("manager", ["vllm-ascend", "vllm"])
def test_the_other_guards_are_of_no_consequence(manager: str, pair: Pair, on_pair: OnPair, graphs: Any) -> None:
    without = _with_model(manager, *OF_NO_CONSEQUENCE)
    found = ran(pair, on_pair, *without)
    expected = graphs if manager == "vllm-ascend" else vllms_manager(pair, on_pair)
    assert "vision-blocks" in found["applied"]
    assert found["patched"] == expected["upstream"]


def test_every_guard_is_among_these() -> None:
    """A guard that is new has to be switched off here too, or needs a reason."""
    asking = {
        ".".join(file.relative_to(PATCHES).with_suffix("").parts)
        for file in PATCHES.rglob("*.py")
        if re.search(r"\bbeing_recorded\b", file.read_text(encoding="utf-8"))
    }
    assert asking == {ATTENTION, SHARED, *OF_NO_CONSEQUENCE, *ELSEWHERE}


def _with_model(manager: str, *guards: str) -> tuple[str, ...]:
    return (manager, "Qwen3-VL", *guards)
