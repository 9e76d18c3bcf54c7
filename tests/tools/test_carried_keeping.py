"""Verdicts are kept one by one: what was not asked this time stays, as far as the verdict is the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from carried_changes import judging_fixes
from carried_changes.judging_fixes import keep
from carried_changes.page import Verdict


def verdict(commit: str, said: str) -> Verdict:
    return Verdict(number="1", commit=commit, subject="Mend it", where="main", verdict=said, definitions={})


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(judging_fixes, "DOCS", tmp_path)
    return tmp_path


def kept(docs: Path) -> dict[str, Verdict]:
    return {each["commit"]: each for each in json.loads((docs / "carried.json").read_text("utf-8"))["0.18.0"]}


def test_verdicts_that_come_one_by_one_are_all_kept_and_on_the_page(docs: Path) -> None:
    keep("0.18.0", [verdict("a", "carried")])
    keep("0.18.0", [verdict("b", "partly")])
    assert list(kept(docs)) == ["a", "b"]
    assert "| all, main | 2 | 1 | 0 | 0 | 1 |" in (docs / "carried.md").read_text("utf-8")


def test_what_was_found_before_stays_with_the_same_verdict_and_goes_with_another(docs: Path) -> None:
    before = verdict("a", "partly")
    before["prerequisites"] = ["c"]
    before["in_place"] = "yes"
    keep("0.18.0", [before])
    keep("0.18.0", [verdict("a", "partly")])
    assert (kept(docs)["a"]["prerequisites"], kept(docs)["a"]["in_place"]) == (["c"], "yes")
    keep("0.18.0", [verdict("a", "carried")])
    assert "prerequisites" not in kept(docs)["a"]
