"""The other vision encoders on released code: the release's own bits, and lengths that nobody copies back."""

from __future__ import annotations

from typing import Any

import pytest
from on_releases.pairs_under_test import OnPair, by_name
from on_releases.vision_encoders import measured
from releases.pairs import Pair, find

# One of each variant; the contract runs on every release.
PAIRS = [
    find(name)
    for name in (
        "vllm-ascend==0.13.0",
        "vllm-ascend==0.18.0",
        "vllm-ascend==0.21.0rc1",
        "vllm-ascend==0.22.1rc1",
        "vllm-ascend==0.23.0",
        "vllm-ascend==0.30.0rc2",
    )
]
pytestmark = pytest.mark.upstream


@pytest.fixture
def encoders(pair: Pair, on_pair: OnPair) -> dict[str, Any]:
    found = measured(pair, on_pair)["encoders"]
    return {name: found[name] for name in found if name != "Qwen3-VL"}


@by_name(PAIRS)
def test_a_forward_does_not_copy_to_the_host(encoders: dict[str, Any]) -> None:
    assert {name: found["patched"]["copies"] for name, found in encoders.items()} == dict.fromkeys(encoders, 0)


@by_name(PAIRS)
def test_a_whole_forward_of_qwen2_5_dispatches_far_less_than_it_did(encoders: dict[str, Any]) -> None:
    found = encoders["Qwen2.5-VL"]
    assert found["patched"]["dispatches"] <= min(35, 0.6 * found["upstream"]["dispatches"])


@by_name(PAIRS)
def test_every_encoder_dispatches_less_than_it_did(encoders: dict[str, Any]) -> None:
    assert [
        name for name, found in encoders.items() if found["patched"]["dispatches"] >= found["upstream"]["dispatches"]
    ] == []


@by_name(PAIRS)
def test_every_bit_is_that_of_the_unpatched_release(encoders: dict[str, Any]) -> None:
    assert {name: found["difference"] for name, found in encoders.items()} == {
        name: {"float32": 0.0, "bfloat16": 0.0} for name in encoders
    }
