"""The shipped patches, shadowed, on released code: every encoder agrees with the release, call by call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from on_releases.pairs_under_test import OnPair, by_name
from releases.pairs import Pair, find

PAIRS = [find(name) for name in ("vllm-ascend==0.13.0", "vllm-ascend==0.18.0", "vllm-ascend==0.30.0rc2")]
SCRIPT = Path(__file__).with_name("shadow_run.py")
COMPARED = (
    *("mm-encoder-attention", "rotary-embedding", "vision-blocks"),
    *("qwen3-vl-vision", "vision-seq-lens", "more-encoders"),
)

pytestmark = [pytest.mark.upstream, pytest.mark.costly]
_RAN: dict[tuple[str, str], Any] = {}


def ran(pair: Pair, on_pair: OnPair, share: str) -> Any:
    if (pair.name, share) not in _RAN:
        _RAN[pair.name, share] = on_pair(pair, SCRIPT, start_hook=True, ASCEND_PATCHES_SHADOW=share)
    return _RAN[pair.name, share]


@by_name(PAIRS)
def test_every_patch_that_computes_is_compared_and_agrees(pair: Pair, on_pair: OnPair) -> None:
    patches = ran(pair, on_pair, "1")["patches"]
    shadows = {name: patches[name]["shadow"] for name in COMPARED}
    assert all(shadow["compared"] > 0 for shadow in shadows.values()), shadows
    assert not any(shadow["mismatches"] + shadow["original_failed"] for shadow in shadows.values()), shadows
    # What a release sets up in its first call cannot be set up twice.
    assert {reason for shadow in shadows.values() for reason in shadow["reasons"]} <= {"assigns to a global"}, shadows


@by_name(PAIRS)
def test_answers_are_those_of_the_patches_alone(pair: Pair, on_pair: OnPair) -> None:
    assert ran(pair, on_pair, "1")["answers"] == ran(pair, on_pair, "0")["answers"]
