"""The vision encoder of Qwen3-VL on released code: the release's own bits, and the host never waits for the device."""

from __future__ import annotations

from typing import Any

import pytest
from on_releases.pairs_under_test import OnPair, by_name
from on_releases.vision_encoders import LAYERS, measured
from releases.pairs import Pair, find

# One of each variant and attention kernel; the contract runs on every release.
PAIRS = [
    find(name)
    for name in (
        "vllm-ascend==0.13.0",
        "vllm-ascend==0.17.0rc1",
        "vllm-ascend==0.18.0",
        "vllm-ascend==0.19.1rc1",
        "vllm-ascend==0.20.2rc1",
        "vllm-ascend==0.23.0",
        "vllm-ascend==0.30.0rc2",
    )
]
pytestmark = pytest.mark.upstream


@pytest.fixture
def found(pair: Pair, on_pair: OnPair) -> Any:
    return measured(pair, on_pair)["encoders"]["Qwen3-VL"]


@by_name(PAIRS)
def test_a_forward_never_waits_for_the_device(found: Any) -> None:
    assert (found["patched"]["copies"], found["patched"]["stalls"]) == (0, 0)


@by_name(PAIRS)
def test_every_bit_is_that_of_the_unpatched_release(found: Any) -> None:
    assert found["difference"] == {"float32": 0.0, "bfloat16": 0.0}


@by_name(PAIRS)
def test_attention_of_a_layer_is_seven_kernels_and_what_its_call_makes_once(found: Any) -> None:
    # Five, and two that copy strided inputs.
    assert found["patched"]["attention_kernels"] <= 7 + 5 / LAYERS


@by_name(PAIRS)
def test_a_forward_dispatches_far_less_than_it_did(found: Any) -> None:
    assert found["patched"]["dispatches"] <= 0.45 * found["upstream"]["dispatches"]
