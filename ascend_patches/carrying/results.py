"""What carrying a change comes to: a verdict for each definition, and one for the whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from ascend_patches.carrying.change import Change
from ascend_patches.carrying.earlier import Prerequisite
from ascend_patches.carrying.inventory import ItemKind
from ascend_patches.carrying.merging import Conflict

Verdict = Literal["exact", "merged", "added", "already there", "conflict", "not there", "cannot"]
Whole = Literal["carried", "already there", "review", "partly", "not carried"]
CARRIED = ("exact", "merged", "added")


@dataclass
class Definition:
    """One definition of a change, and what becomes of it on the release.

    ``path`` and ``file`` are the release's, which differ from upstream's where the code has moved. ``text`` is what is
    carried, ``before`` what the release has. ``order`` is the place in upstream's file.
    """

    target: str
    file: str
    kind: ItemKind
    verdict: Verdict
    reason: str = ""
    text: str = ""
    before: str = ""
    base: str = ""
    theirs: str = ""
    scope: str = ""
    order: int = 0
    after_path: str = ""
    doubts: list[str] = field(default_factory=list)
    conflicts: tuple[Conflict, ...] = ()
    also_at: tuple[str, ...] = ()
    lines: tuple[int, int] = (0, 0)
    misfits: tuple[str, ...] = ()
    """The doubts that are about code which fitted what the release has, and does not fit what is carried."""
    is_field: bool = False
    """Whether it is added to the fields of a dataclass."""

    @property
    def module(self) -> str:
        return self.target.partition(":")[0]

    @property
    def path(self) -> str:
        return self.target.partition(":")[2]

    @property
    def is_carried(self) -> bool:
        return self.verdict in CARRIED

    def refuse(self, verdict: Verdict, reason: str) -> None:
        self.verdict, self.reason = verdict, reason

    def as_json(self) -> dict[str, Any]:
        reason = "; ".join([*([self.reason] if self.reason else []), *self.doubts])
        return {"target": self.target, "file": self.file, "verdict": self.verdict, "reason": reason}


@dataclass(frozen=True)
class LeftOut:
    """A file, or a part of one, that is no definition of the product."""

    path: str
    kind: str
    reason: str

    def as_json(self) -> dict[str, str]:
        return {"file": self.path, "kind": self.kind, "reason": self.reason}


@dataclass
class Result:
    """A change on a release."""

    change: Change
    definitions: list[Definition]
    left_out: list[LeftOut]
    files: dict[str, str] = field(default_factory=dict)
    """The release's files with what is carried in them."""
    callers: list[str] = field(default_factory=list)
    """Calls of a changed signature that the change does not touch."""
    prerequisites: tuple[Prerequisite, ...] = ()
    """Earlier changes that are carried with it, the oldest first."""
    earlier: tuple[Change, ...] = ()
    """The same changes in full."""
    steps: tuple[Result, ...] = ()
    """What became of each of them and of the change itself, one upon the other."""
    searched: str = ""
    """Why no earlier changes were found that help, where they were looked for."""

    @property
    def verdict(self) -> Whole:
        if not self.definitions:
            return "not carried"
        carried = [each for each in self.definitions if each.is_carried]
        blocked = [each for each in self.definitions if each.verdict in ("conflict", "not there", "cannot")]
        if blocked:
            return "partly" if carried else "not carried"
        if not carried:
            return "already there"
        return "review" if any(each.doubts for each in self.definitions) else "carried"

    @property
    def carried(self) -> list[Definition]:
        return [each for each in self.definitions if each.is_carried]

    @property
    def doubts(self) -> list[str]:
        return list(dict.fromkeys(doubt for each in self.definitions for doubt in each.doubts))
