"""Patch files as forges serve them: read whole, and laid onto the release where their lines are found."""

from __future__ import annotations

from pathlib import Path

import pytest
from carrying.releases import code, git, write

from ascend_patches.carrying import onto, patch_file
from ascend_patches.carrying.results import Result
from ascend_patches.errors import CarryError

RUNNER = "vllm_ascend/runner.py"
BEFORE = """
    class Runner:
        def first(self, tokens):
            count = len(tokens)
            rest = count - 1
            return rest

        def second(self, tokens):
            return tokens
"""


def served(folder: Path, *states: dict[str, str], form: str = "format-patch") -> str:
    """What a forge would serve for commits that lead from state to state."""
    folder.mkdir()
    git(folder, "init", "-q")
    for index, state in enumerate(states):
        write(folder, state)
        git(folder, "add", "-A")
        git(folder, "commit", "-q", "-m", f"[BugFix] Step {index} (#{index})\n\nBecause of it.")
    if form == "diff":
        return git(folder, "diff", f"HEAD~{len(states) - 1}")
    return git(folder, "format-patch", "--stdout", f"-{len(states) - 1}")


def carry(folder: Path, release: dict[str, str], text: str) -> Result:
    there = code(folder, release)
    return onto.carry(patch_file.read(text, there, "a.patch"), there)


MENDED = BEFORE.replace("rest = count - 1", "rest = max(0, count - 1)")


@pytest.mark.parametrize("form", ["format-patch", "diff"])
def test_a_patch_is_laid_onto_the_release(tmp_path: Path, form: str) -> None:
    text = served(tmp_path / "clone", {RUNNER: BEFORE}, {RUNNER: MENDED}, form=form)
    result = carry(tmp_path / "release", {RUNNER: "\n\nX = 1\n" + BEFORE.replace("\n    ", "\n")}, text)
    assert (result.verdict, [each.target for each in result.definitions]) == (
        "carried",
        ["vllm_ascend.runner:Runner.first"],
    )


def test_the_message_of_a_commit_is_kept(tmp_path: Path) -> None:
    text = served(tmp_path / "clone", {RUNNER: BEFORE}, {RUNNER: MENDED})
    change = carry(tmp_path / "release", {RUNNER: BEFORE}, text).change
    assert (change.subject, change.number) == ("[BugFix] Step 1 (#1)", "1")
    assert change.commits[0].author == "A Person <person@example.org>"
    assert "Because of it." in change.commits[0].body


def test_several_commits_are_one_change(tmp_path: Path) -> None:
    twice = MENDED.replace("return tokens", "return list(tokens)")
    text = served(tmp_path / "clone", {RUNNER: BEFORE}, {RUNNER: MENDED}, {RUNNER: twice})
    result = carry(tmp_path / "release", {RUNNER: BEFORE}, text)
    assert {each.path: each.verdict for each in result.definitions} == {
        "Runner.first": "exact",
        "Runner.second": "exact",
    }


def test_what_the_release_has_already_is_recognised(tmp_path: Path) -> None:
    text = served(tmp_path / "clone", {RUNNER: BEFORE}, {RUNNER: MENDED})
    assert carry(tmp_path / "release", {RUNNER: MENDED}, text).verdict == "already there"


def test_a_hunk_without_a_place_is_a_conflict(tmp_path: Path) -> None:
    text = served(tmp_path / "clone", {RUNNER: BEFORE}, {RUNNER: MENDED})
    result = carry(tmp_path / "release", {RUNNER: BEFORE.replace("count - 1", "count - 2")}, text)
    assert [each.verdict for each in result.definitions] == ["conflict"]


def test_line_ends_of_another_system_do_not_matter(tmp_path: Path) -> None:
    text = served(tmp_path / "clone", {RUNNER: BEFORE}, {RUNNER: MENDED}).replace("\n", "\r\n")
    assert carry(tmp_path / "release", {RUNNER: BEFORE}, text).verdict == "carried"


def test_a_patch_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    text = served(tmp_path / "clone", {RUNNER: BEFORE}, {RUNNER: MENDED}, form="diff")
    with pytest.raises(CarryError, match="cut off"):
        carry(tmp_path / "release", {RUNNER: BEFORE}, text[: text.index("return rest")])


def test_a_file_without_a_difference_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CarryError, match="no difference"):
        carry(tmp_path / "release", {RUNNER: BEFORE}, "hello\n")
