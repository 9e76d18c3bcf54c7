"""The other vision encoders on released code: the release's own bits, and lengths that nobody copies back."""

from __future__ import annotations

from typing import Any

import pytest
from pairs_under_test import OnPair, by_name
from releases.pairs import Pair, find
from vision_encoders import LAYERS, measured

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
COPYING = ("GLM-4.1V",)
"""Its release copies while it prepares positions, for each image; its layers copied as well."""

pytestmark = pytest.mark.upstream


@pytest.fixture
def encoders(pair: Pair, on_pair: OnPair) -> dict[str, Any]:
    found = measured(pair, on_pair)["encoders"]
    return {name: found[name] for name in found if name != "Qwen3-VL"}


@by_name(PAIRS)
def test_a_forward_does_not_copy_to_the_host(encoders: dict[str, Any]) -> None:
    assert {name: found["patched"]["copies"] for name, found in encoders.items() if name not in COPYING} == {
        name: 0 for name in encoders if name not in COPYING
    }


@by_name(PAIRS)
def test_no_layer_copies_where_the_release_copies_before_the_layers(encoders: dict[str, Any]) -> None:
    for name in COPYING:
        assert encoders[name]["patched"]["copies"] <= encoders[name]["upstream"]["copies"] - LAYERS


@by_name(PAIRS)
def test_every_bit_is_that_of_the_unpatched_release(encoders: dict[str, Any]) -> None:
    assert {name: found["difference"] for name, found in encoders.items()} == {
        name: {"float32": 0.0, "bfloat16": 0.0} for name in encoders
    }
