"""Upstream's fixes in a clone: of main between the branch points of stable releases, and of a release's branch."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ascend_patches.carrying.change import Commit, kind_of
from ascend_patches.carrying.clone import Clone

STABLE = ("0.13.0", "0.18.0", "0.23.0")
PACKAGES = ("vllm_ascend", "vllm")
_FIX = re.compile(r"\[[^\]]*(bug ?fix|perf|fix)[^\]]*\]|^fix|^perf|\bfix(es|ed)?\b", re.IGNORECASE)


def of_main(clone: Clone, release: str) -> Iterator[Commit]:
    """The fixes that landed on main after a release left it, and before the next stable one did."""
    first = clone.merge_base("main", f"v{release}")
    later = STABLE[STABLE.index(release) + 1 :]
    last = clone.merge_base("main", f"v{later[0]}") if later else "main"
    return _fixes(clone, f"{first}..{last}")


def of_branch(clone: Clone, release: str) -> Iterator[Commit]:
    """All that is on a release's branch after its tag, which no wheel has."""
    return _python_only(clone, clone.log(f"v{release}..releases/v{release}", "--first-parent"))


def _fixes(clone: Clone, revisions: str) -> Iterator[Commit]:
    commits = [commit for commit in clone.log(revisions, "--first-parent") if _FIX.search(commit.subject)]
    return _python_only(clone, commits)


def _python_only(clone: Clone, commits: list[Commit]) -> Iterator[Commit]:
    """The changes that touch the package's Python files, and no native ones."""
    for commit in commits:
        change = clone.change(commit.sha)
        kinds = {kind_of(file.path, PACKAGES) for file in change.files}
        if "product" in kinds and "native" not in kinds:
            yield commit
