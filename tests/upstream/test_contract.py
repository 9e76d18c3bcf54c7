"""The contract of every patch, on every supported release."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pairs_under_test import REPRESENTATIVE, RUNNABLE, OnPair, by_name
from releases.compatibility import Outcome, document, outcomes
from releases.pairs import Pair
from releases.store import Store

from ascend_patches.patches import PATCHES

SCRIPT = Path(__file__).with_name("contract.py")
FLOAT32 = {"ASCEND_PATCHES_RELEASE_FLOAT32": "1"}
pytestmark = pytest.mark.upstream


@pytest.fixture(scope="module")
def expected(pair: Pair, store: Store) -> dict[str, Outcome]:
    """What the table says of each patch on the pair."""
    return {outcome.patch: outcome for outcome in outcomes(pair, store)}


@pytest.fixture(scope="module")
def seen(pair: Pair, on_pair: OnPair) -> Any:
    """What a deployment on the pair sees, with every patch on."""
    return on_pair(pair, SCRIPT, "patched", start_hook=True, ASCEND_PATCHES_ENABLE="all", **FLOAT32)


@by_name(RUNNABLE)
class TestOnEveryRelease:
    def test_a_deployment_applies_exactly_what_the_table_says(
        self, seen: dict[str, Any], expected: dict[str, Outcome]
    ) -> None:
        assert seen["deployed"]["activated_by"] in ("sitecustomize", None)
        assert states(seen["deployed"]) == {name: outcome.state for name, outcome in expected.items()}
        assert variants(seen["deployed"]) == {name: one.variant for name, one in expected.items() if one.targets}

    def test_so_does_a_call(self, seen: dict[str, Any]) -> None:
        assert states(seen["called"]) == states(seen["deployed"])

    def test_every_target_is_read_back(self, seen: dict[str, Any], expected: dict[str, Outcome]) -> None:
        applied = [patch for patch in seen["deployed"]["patches"] if patch["state"] == "applied"]
        found = {target["target"]: target["state"] for patch in applied for target in patch["targets"]}
        assert found == dict.fromkeys(targets(expected), "applied")

    @pytest.mark.parametrize("step", ["undone", "applied_again"])
    def test_the_targets_change_and_nothing_else_does(
        self, seen: dict[str, Any], expected: dict[str, Outcome], step: str
    ) -> None:
        changed = set(seen[step])
        assert targets(expected) <= changed
        assert changed - targets(expected) <= aliases(changed, targets(expected))

    def test_no_number_changes_but_those_that_upstream_has_wrong(self, seen: dict[str, Any]) -> None:
        assert set(seen["different"]) <= set(seen["mended"])
        assert seen["different_again"] == []

    def test_undone_nothing_is_left(self, seen: dict[str, Any]) -> None:
        assert seen["left_behind"] == []
        assert set(seen["after_undo"]) <= {"reverted", "skipped"}


@by_name([pair for pair in RUNNABLE if pair.name in REPRESENTATIVE])
def test_a_process_without_the_toolkit_computes_what_it_computes_after_undo(
    pair: Pair, on_pair: OnPair, seen: dict[str, Any]
) -> None:
    off = on_pair(pair, SCRIPT, "unpatched", start_hook=True, ASCEND_PATCHES="off", **FLOAT32)
    assert off["by_upstream"] == seen["by_upstream"]


def test_every_patch_has_an_exercise() -> None:
    folder = Path(__file__).with_name("exercises")
    assert [patch.name for patch in PATCHES if not (folder / f"{patch.name.replace('-', '_')}.py").exists()] == []


def targets(expected: dict[str, Outcome]) -> set[str]:
    return {target for outcome in expected.values() for target in outcome.targets}


def variants(status: dict[str, Any]) -> dict[str, str]:
    return {patch["name"]: patch["variant"] for patch in status["patches"] if patch["state"] == "applied"}


def states(status: dict[str, Any]) -> dict[str, str]:
    return {patch["name"]: patch["state"] for patch in status["patches"]}


def aliases(changed: set[str], targets: set[str]) -> set[str]:
    """Names that other modules took of a module's function, which follow their target."""
    functions = {target.partition(":")[2] for target in targets if "." not in target.partition(":")[2]}
    return {change for change in changed if change.partition(":")[2] in functions}


def test_the_compatibility_page_says_what_the_releases_and_the_lock_say(store: Store) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "compatibility.md"
    assert page.read_text(encoding="utf-8") == document(store), "run tools/compatibility"
