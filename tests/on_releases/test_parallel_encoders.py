"""Vision encoders on two ranks that share weights or data: the patches change no bit and keep nobody waiting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from on_releases.pairs_under_test import OnPair, by_name
from releases.pairs import Pair, find

SCRIPT = Path(__file__).with_name("parallel_encoders_run.py")
PAIRS = [find(name) for name in ("vllm==0.32.0", "vllm-ascend==0.18.0", "vllm-ascend==0.30.0rc2")]
WEIGHTS = ("Qwen3-VL", "Qwen2.5-VL", "Qwen2-VL", "GLM-4.1V")
CASES = {
    f"{mode} shared, {name}, {title}"
    for mode, names in (("weights", WEIGHTS), ("data", (*WEIGHTS, "Kimi-K2.5")))
    for name in names
    for title in ("three images", "one image")
}
pytestmark = [pytest.mark.upstream, pytest.mark.costly, by_name(PAIRS)]


@pytest.fixture(scope="module")
def ranks(pair: Pair, on_pair: OnPair) -> Any:
    """What both ranks found; this ends with an error where one waits for the other for ever."""
    return on_pair(pair, SCRIPT, ASCEND_PATCHES_RELEASE_FLOAT32="1")["ranks"]


def test_the_patches_are_on_in_every_rank(ranks: Any) -> None:
    assert [rank["patches"]["mm-encoder-attention"] for rank in ranks] == ["applied", "applied"]
    assert [rank["patches"]["qwen3-vl-vision"] for rank in ranks] == ["applied", "applied"]


def test_every_case_ends_on_both_ranks(ranks: Any) -> None:
    assert [set(rank["outputs"]) for rank in ranks] == [CASES, CASES]


def test_both_ranks_have_the_same_embeddings(ranks: Any) -> None:
    one, other = ({case: output["sum"] for case, output in rank["outputs"].items()} for rank in ranks)
    assert one == other


def test_every_bit_is_that_of_the_unpatched_release(ranks: Any, pair: Pair) -> None:
    if not pair.ascend:
        # Unpatched, vLLM alone has no attention of an NPU.
        assert [case for rank in ranks for case, output in rank["outputs"].items() if not output["near"]] == []
        return
    assert [case for rank in ranks for case, output in rank["outputs"].items() if not output["equal"]] == []
