"""Blocks whose submodules are called directly, on released code: the release's bits, whatever a block is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from on_releases.pairs_under_test import OnPair, by_name
from releases.pairs import Pair, find

PAIRS = [
    find(name)
    for name in (
        "vllm-ascend==0.13.0",
        "vllm-ascend==0.18.0",
        "vllm-ascend==0.23.0",
        "vllm-ascend==0.26.0rc1",
        "vllm-ascend==0.30.0rc2",
    )
]
SCRIPT = Path(__file__).with_name("vision_blocks_run.py")
LINEAR_LAYERS = 4
"""Of a block: two of its attention, two of its MLP."""

pytestmark = pytest.mark.upstream
_ran: dict[tuple[str, str], Any] = {}


@pytest.fixture(params=["of vLLM", "registered"])
def found(request: pytest.FixtureRequest, pair: Pair, on_pair: OnPair) -> Any:
    """With vLLM's linear layers, and with those that the release's worker registers."""
    key = (pair.name, request.param)
    if key not in _ran:
        _ran[key] = on_pair(pair, SCRIPT, request.param)
    return _ran[key]


@by_name(PAIRS)
def test_no_change_to_a_block_is_passed_over(found: Any) -> None:
    assert (found["differing"], found["unchanged"], found["state"]) == ([], [], "applied")


@by_name(PAIRS)
def test_no_linear_layer_of_a_plain_block_runs_more_than_torch_s(found: Any) -> None:
    saved = {name: upstream - patched for name, (upstream, patched) in found["own_forwards"].items()}
    assert saved == dict.fromkeys(found["encoders"], LINEAR_LAYERS * found["layers"])
