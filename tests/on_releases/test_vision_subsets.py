"""The vision patches on released code, each alone and in every combination: the release's own bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from on_releases.pairs_under_test import OnPair, by_name
from releases.pairs import Pair, find

# One of each variant. vLLM alone has no NPU attention whose bits could be kept.
PAIRS = [
    find(name)
    for name in (
        "vllm-ascend==0.13.0",
        "vllm-ascend==0.18.0",
        "vllm-ascend==0.21.0rc1",
        "vllm-ascend==0.23.0",
        "vllm-ascend==0.30.0rc2",
    )
]
SCRIPT = Path(__file__).with_name("vision_subsets_run.py")

# The attention of 0.23 calls another op than that of 0.18, one that takes no notice of strides.
pytestmark = [pytest.mark.upstream, pytest.mark.costly("vllm-ascend==0.23.0")]

_ran: dict[str, Any] = {}


@pytest.fixture
def subsets(pair: Pair, on_pair: OnPair) -> Any:
    if pair.name not in _ran:
        _ran[pair.name] = on_pair(pair, SCRIPT)["subsets"]
    return _ran[pair.name]


@by_name(PAIRS)
def test_every_subset_is_what_was_on(subsets: Any) -> None:
    assert {name: sorted(found["applied"]) for name, found in subsets.items()} == {
        name: sorted(name.split()) for name in subsets
    }
    assert len(subsets) == 2**5


@by_name(PAIRS)
def test_no_subset_changes_a_bit_of_any_encoder(subsets: Any) -> None:
    assert {name: found["differing"] for name, found in subsets.items()} == {name: [] for name in subsets}
