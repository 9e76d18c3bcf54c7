"""Clones: whole files on both sides, and nothing of the clone is executed."""

from __future__ import annotations

from pathlib import Path

import pytest
from carrying.made_releases import git, write

from ascend_patches.carrying.clone import Clone
from ascend_patches.errors import CarryError

RUNNER = "vllm_ascend/runner.py"
BEFORE = "def one(x):\n    first = x\n    second = first\n    return second\n"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "clone"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    for subject, text in (("Begin", BEFORE), ("[BugFix] Mend it (#7)", BEFORE.replace("= x", "= x + 1"))):
        write(folder, {RUNNER: text})
        git(folder, "add", "-A")
        git(folder, "commit", "-q", "-m", subject)
    return folder


def test_a_commit_has_whole_files_on_both_sides(clone: Path) -> None:
    with Clone(str(clone)) as opened:
        change = opened.change("HEAD")
    assert [(file.path, file.before, file.after) for file in change.files] == [
        (RUNNER, BEFORE, BEFORE.replace("= x", "= x + 1"))
    ]
    assert (change.number, change.subject) == ("7", "[BugFix] Mend it (#7)")


def test_a_bare_clone_is_read_as_well(clone: Path, tmp_path: Path) -> None:
    git(clone, "clone", "-q", "--bare", str(clone), str(tmp_path / "bare"))
    with Clone(str(tmp_path / "bare")) as opened:
        assert opened.change("HEAD").number == "7"


def test_a_range_is_one_change(clone: Path) -> None:
    write(clone, {RUNNER: BEFORE.replace("= x", "= x + 2")})
    git(clone, "commit", "-q", "-a", "-m", "[BugFix] Mend it again (#8)")
    with Clone(str(clone)) as opened:
        change = opened.change("HEAD~2..HEAD")
    assert [commit.number for commit in change.commits] == ["7", "8"]
    assert [(file.before, file.after) for file in change.files] == [(BEFORE, BEFORE.replace("= x", "= x + 2"))]


def test_a_moved_file_is_one_change_with_two_paths(clone: Path) -> None:
    git(clone, "mv", RUNNER, "vllm_ascend/walker.py")
    git(clone, "commit", "-q", "-m", "Move")
    with Clone(str(clone)) as opened:
        change = opened.change("HEAD")
    assert [(file.old_path, file.path) for file in change.files] == [(RUNNER, "vllm_ascend/walker.py")]


def test_nothing_that_a_clone_asks_for_is_executed(clone: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\ncat\n", encoding="utf-8")
    trap.chmod(0o755)
    (clone / ".git" / "info" / "attributes").write_text("*.py diff=trap filter=trap\n", encoding="utf-8")
    for key in ("diff.external", "diff.trap.textconv", "diff.trap.command", "filter.trap.smudge", "core.fsmonitor"):
        git(clone, "config", key, str(trap))
    with Clone(str(clone)) as opened:
        assert opened.change("HEAD").files
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("revisions", ["nowhere", "--output=/tmp/x", "HEAD...HEAD", "HEAD..HEAD"])
def test_what_names_no_commit_is_refused(clone: Path, revisions: str) -> None:
    with Clone(str(clone)) as opened, pytest.raises(CarryError):
        opened.change(revisions)


def test_a_folder_that_is_no_clone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CarryError):
        Clone(str(tmp_path))
