"""Patch files as forges serve them: read whole, and laid onto the release where their lines are found."""

from __future__ import annotations

from pathlib import Path

import pytest
from carrying.made_releases import code, git, write

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


ALIKE = """
    class First:
        def run(self, tokens):
            count = len(tokens)
            rest = count - 1
            return rest


    class Second:
        def run(self, tokens):
            count = len(tokens)
            rest = count - 1
            return rest
"""


def test_of_places_that_look_alike_the_one_with_the_right_class_above_it_is_taken(tmp_path: Path) -> None:
    first, second = ALIKE.split("    class Second")
    after = f"{first}    class Second{second.replace('count - 1', 'count - 2')}"
    text = served(tmp_path / "clone", {RUNNER: ALIKE}, {RUNNER: after}, form="diff")
    moved_down = ALIKE.replace("class First", "X = 1\n    Y = 2\n\n\n    class First")
    result = carry(tmp_path / "release", {RUNNER: moved_down}, text)
    assert [each.target for each in result.definitions] == ["vllm_ascend.runner:Second.run"]


def test_a_hunk_that_fits_two_places_is_refused_whatever_its_line_number_says(tmp_path: Path) -> None:
    branch = "        first = 1\n        second = 2\n        third = 3\n"
    release = f"def run(tokens):\n    if tokens:\n{branch}    else:\n{branch}    return tokens\n"
    hunk = f"@@ -7,3 +7,3 @@ def run(tokens):\n         first = 1\n-{branch.splitlines()[1]}\n+        second = 4\n"
    text = f"--- a/{RUNNER}\n+++ b/{RUNNER}\n{hunk}         third = 3\n"
    result = carry(tmp_path / "release", {RUNNER: release}, text)
    assert [each.verdict for each in result.definitions] == ["conflict"]


def test_in_the_very_file_that_the_change_was_made_to_line_numbers_count(tmp_path: Path) -> None:
    text = served(tmp_path / "clone", {RUNNER: ALIKE}, {RUNNER: ALIKE.replace("return rest\n\n", "return -rest\n\n")})
    result = carry(tmp_path / "release", {RUNNER: ALIKE}, text)
    assert [each.target for each in result.definitions] == ["vllm_ascend.runner:First.run"]


def test_a_hunk_below_another_class_than_its_own_has_no_place(tmp_path: Path) -> None:
    one_class = ALIKE.partition("    class Second")[0]
    text = served(
        tmp_path / "clone", {RUNNER: ALIKE}, {RUNNER: ALIKE.replace("count - 1", "count - 2", 1)}, form="diff"
    )
    other = one_class.replace("class First", "class Another").replace("def run", "def step")
    result = carry(tmp_path / "release", {RUNNER: other}, text)
    assert result.carried == []
