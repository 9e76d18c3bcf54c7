"""One replaced target: what is there, what was there, and whether that is still so."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from ascend_patches.declaring.target import Target
from ascend_patches.replacing.find import ABSENT, author


class Site:
    """One target that was replaced: all there is to know to check it and to undo it."""

    __slots__ = ("after", "before", "keeps_original_as", "keeps_original_in", "name", "owner", "target")

    def __init__(self, target: Target, owner: ModuleType | type, name: str, before: Any, after: Any) -> None:
        self.target = target
        self.owner = owner
        self.name = name
        self.before = before
        self.after = after
        self.keeps_original_in: dict[str, Any] | None = None
        self.keeps_original_as = ""

    def in_place(self) -> bool:
        return self.owner.__dict__.get(self.name) is self.after

    def reversed(self) -> Site:
        """The site as if the replacement had been the original, to ask who still holds the replacement."""
        return Site(self.target, self.owner, self.name, self.after, self.before)

    def owner_now(self) -> str:
        """Whose work is there, if it is not ours any more."""
        return author(self.owner.__dict__.get(self.name, ABSENT))
