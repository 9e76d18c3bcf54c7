"""Earlier changes that are carried before one: their size, and whether they are more than fixes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from ascend_patches.carrying.change import Change, Commit

_FIX = re.compile(r"\[[^\]]*(bug ?fix|perf|fix)[^\]]*\]|^fix|^perf|\bfix(es|ed)?\b", re.IGNORECASE)
_FEATURE = re.compile(r"\[[^\]]*feat[^\]]*\]|^feat\b", re.IGNORECASE)


@dataclass(frozen=True)
class Prerequisite:
    """An earlier change that is carried first."""

    commit: Commit
    added: int
    removed: int
    definitions: int

    @property
    def is_feature(self) -> bool:
        """Whether it is more than a fix, by its subject."""
        subject = self.commit.subject
        return bool(_FEATURE.search(subject)) or not _FIX.search(subject)

    @property
    def shown(self) -> str:
        size = f"+{self.added} -{self.removed} lines, {self.definitions} definitions"
        return (
            f"{self.commit.sha[:10]} {' '.join(self.commit.subject.split())} ({size}{', a feature' * self.is_feature})"
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "commit": self.commit.sha,
            "subject": self.commit.subject,
            "lines_added": self.added,
            "lines_removed": self.removed,
            "definitions": self.definitions,
            "feature": self.is_feature,
        }


def described(change: Change, definitions: int) -> Prerequisite:
    """A change as a prerequisite, of which so many definitions are carried."""
    added = removed = 0
    for file in change.files:
        if file.path.endswith(".py"):
            more, fewer = _lines(file.before or "", file.after or "")
            added, removed = added + more, removed + fewer
    return Prerequisite(change.commits[-1], added, removed, definitions)


def _lines(before: str, after: str) -> tuple[int, int]:
    codes = SequenceMatcher(None, before.split("\n"), after.split("\n"), autojunk=False).get_opcodes()
    changed = [code for code in codes if code[0] != "equal"]
    return sum(code[4] - code[3] for code in changed), sum(code[2] - code[1] for code in changed)
