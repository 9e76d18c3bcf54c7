"""Every encoder of every release is covered, or the page of encoders says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pairs_under_test import REPRESENTATIVE, OnPair, by_name
from releases import encoder_page
from releases.pairs import PAIRS, Pair
from releases.store import Store

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "encoders.md"
MEASURED = encoder_page.read(REPOSITORY / "docs" / "encoders.json")
COUNTS = REPOSITORY / "tools" / "releases" / "encoder_counts.py"
pytestmark = [pytest.mark.upstream, pytest.mark.costly]


@by_name([pair for pair in PAIRS if not pair.cannot_run])
def test_no_encoder_is_left_without_a_patch_or_a_reason(pair: Pair, store: Store) -> None:
    assert encoder_page.without_reason(encoder_page.covered(pair, store)) == []


@by_name([pair for pair in PAIRS if pair.name in REPRESENTATIVE])
def test_the_page_names_every_encoder_of_the_release(pair: Pair, store: Store) -> None:
    text = PAGE.read_text(encoding="utf-8")
    stacks = [encoder_page.short(each.encoder.stack) for each in encoder_page.covered(pair, store)]
    assert [stack for stack in stacks if f"`{stack}`" not in text] == []


@pytest.mark.parametrize("release", MEASURED["releases"])
def test_what_is_still_copied_back_has_a_reason_on_the_page(release: str) -> None:
    counted = MEASURED["releases"][release]
    copied = [title for title, found in counted.items() if found["patched"]]
    assert [title for title in copied if not encoder_page.left(title, release)] == []


@pytest.mark.parametrize("release", [name for name in MEASURED["releases"] if name.startswith("vllm-ascend")])
def test_no_encoder_launches_more_than_upstream(release: str) -> None:
    counted = MEASURED["releases"][release]
    assert [title for title, found in counted.items() if found["kernels"][1] > found["kernels"][0]] == []


@by_name([pair for pair in PAIRS if pair.name in ("vllm-ascend==0.30.0rc2", "vllm-ascend==0.18.0")])
def test_two_layers_copy_back_no_more_than_that_and_change_no_bit(pair: Pair, on_pair: OnPair) -> None:
    counted: dict[str, Any] = on_pair(pair, COUNTS, "2", ASCEND_PATCHES_RELEASE_FLOAT32="1")
    assert {title for title, found in counted.items() if not found["same"]} == set()
    copied = {title: found["patched"] for title, found in counted.items() if found["patched"]}
    assert {title: count for title, count in copied.items() if count > bool(encoder_page.left(title, pair.name))} == {}
