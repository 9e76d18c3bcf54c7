"""The contract of every patch, on every supported release."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from on_releases.pairs_under_test import REPRESENTATIVE, RUNNABLE, OnPair, by_name
from releases.compatibility import Outcome, document, outcomes
from releases.pairs import Pair
from releases.store import Store

from ascend_patches.checks.check import declared
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
    return on_pair(pair, SCRIPT, "deployed", start_hook=True, ASCEND_PATCHES_ENABLE="all", **FLOAT32)


@by_name(RUNNABLE)
class TestADeployment:
    def test_applies_exactly_what_the_table_says(self, seen: dict[str, Any], expected: dict[str, Outcome]) -> None:
        assert seen["status"]["activated_by"] == "sitecustomize"
        assert states(seen["status"]) == {name: outcome.state for name, outcome in expected.items()}
        assert variants(seen["status"]) == {name: one.variant for name, one in expected.items() if one.targets}

    def test_reads_every_target_back(self, seen: dict[str, Any], expected: dict[str, Outcome]) -> None:
        applied = [patch for patch in seen["status"]["patches"] if patch["state"] == "applied"]
        found = {target["target"]: target["state"] for patch in applied for target in patch["targets"]}
        assert found == dict.fromkeys(targets(expected), "applied")

    def test_changes_the_targets_and_nothing_else(self, seen: dict[str, Any], expected: dict[str, Outcome]) -> None:
        assert_only_targets_changed(set(seen["changed"]), targets(expected))

    def test_gives_what_its_checks_ask_for(self, seen: dict[str, Any]) -> None:
        """What ``ascend-patches verify --emulated`` says of the release."""
        assert seen["cannot_be_imported"] == []
        assert [case for case in seen["cases"] if case["problem"]] == []

    def test_has_checks_of_every_patch_that_is_applied(self, seen: dict[str, Any]) -> None:
        applied = {patch["name"] for patch in seen["status"]["patches"] if patch["state"] == "applied"}
        change_results = {patch.name for patch in PATCHES if declared(patch)}
        assert {case["patch"] for case in seen["cases"]} == applied & change_results

    def test_finds_upstream_wrong_only_where_the_checks_say_so(self, seen: dict[str, Any]) -> None:
        assert [case for case in seen["cases"] if not case["upstream_as_declared"]] == []

    def test_is_undone(self, seen: dict[str, Any]) -> None:
        assert set(seen["after_undo"]) <= {"reverted", "skipped"}


@by_name([pair for pair in RUNNABLE if pair.name in REPRESENTATIVE])
def test_a_call_after_everything_was_imported_and_used_does_the_same_and_leaves_nothing_behind(
    pair: Pair, on_pair: OnPair, expected: dict[str, Outcome]
) -> None:
    seen = on_pair(pair, SCRIPT, "called", ASCEND_PATCHES_ENABLE="all", **FLOAT32)
    assert states(seen["status"]) == {name: outcome.state for name, outcome in expected.items()}
    assert_only_targets_changed(set(seen["changed"]), targets(expected))
    assert [case for case in seen["cases"] if case["problem"]] == []
    assert seen["left_behind"] == []
    assert seen["different_after_undo"] == []


def test_every_patch_declares_checks() -> None:
    """None of which may be left: of a patch that changes no result there is nothing to compare."""
    assert [patch.name for patch in PATCHES if not patch.checks] == []


def assert_only_targets_changed(changed: set[str], targets: set[str]) -> None:
    assert targets <= changed
    assert changed - targets <= aliases(changed, targets)


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
