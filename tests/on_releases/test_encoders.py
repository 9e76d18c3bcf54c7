"""Every encoder of every release is covered, or the page of encoders says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from on_releases.pairs_under_test import REPRESENTATIVE, RUNNABLE, OnPair, by_name
from releases import encoder_page
from releases.compatibility import environment
from releases.encoder_page import left
from releases.pairs import PAIRS, Pair
from releases.store import Store

from ascend_patches.patches.more_encoders.checks import WHERE

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "encoders.md"
MEASURED = encoder_page.read(REPOSITORY / "docs" / "encoders.json")
COUNTS = REPOSITORY / "tools" / "releases" / "encoder_counts.py"
COSTS = ("kernels", "waits")
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
    assert [title for title in copied if not left(title, release)] == []


@pytest.mark.parametrize("release", MEASURED["releases"])
@pytest.mark.parametrize("what", COSTS)
def test_no_encoder_does_more_than_upstream(release: str, what: str) -> None:
    assert more_than_upstream(MEASURED["releases"][release], what) == {}


def rows(pair: Pair) -> list[str]:
    """The encoders that the patch's checks build on a release."""
    where = environment(pair)
    return [title for title, gate in WHERE.items() if gate.judge(where).holds]


COUNTED = [pair for pair in RUNNABLE if rows(pair)]


@pytest.fixture(scope="module")
def counted(pair: Pair, on_pair: OnPair) -> Any:
    return on_pair(pair, COUNTS, "2", ASCEND_PATCHES_RELEASE_FLOAT32="1")


class TestEveryRow:
    @by_name(COUNTED)
    def test_is_built_and_run(self, pair: Pair, counted: Any) -> None:
        assert [title for title in rows(pair) if title not in counted] == []

    @by_name([each for each in COUNTED if each.ascend])
    def test_changes_no_bit(self, pair: Pair, counted: Any) -> None:
        assert [title for title, found in counted.items() if not found["same"]] == []

    @by_name(COUNTED)
    def test_copies_nothing_back_but_what_the_page_says(self, pair: Pair, counted: Any) -> None:
        copied = [title for title, found in counted.items() if found["patched"]]
        assert [title for title in copied if not left(title, pair.name)] == []

    @by_name(COUNTED)
    def test_runs_no_more_kernels_and_waits_no_more_often_than_upstream(self, pair: Pair, counted: Any) -> None:
        assert {what: more_than_upstream(counted, what) for what in ("kernels", "waits")} == {
            "kernels": {},
            "waits": {},
        }


def more_than_upstream(counted: dict[str, Any], what: str) -> dict[str, list[int]]:
    return {title: found[what] for title, found in counted.items() if found[what][1] > found[what][0]}
