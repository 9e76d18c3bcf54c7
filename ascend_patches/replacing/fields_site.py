"""The fields of a dataclass as a place where a replacement goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ascend_patches.declaring.target import Target
from ascend_patches.replacing import one_step
from ascend_patches.replacing.find import ABSENT
from ascend_patches.replacing.site import Site

FIELDS = "__dataclass_fields__"


class FieldsSite(Site):
    """The fields of a dataclass, with all that is made of them; what stands in the class is held by name."""

    __slots__ = ("names", "were")

    def __init__(self, target: Target, owner: type, name: str, before: Any, after: Any) -> None:
        self.names: dict[str, Any] = after
        self.were = {each: vars(owner).get(each, ABSENT) for each in after}
        super().__init__(target, owner, name, before, after[FIELDS])

    def steps(self) -> Iterator[one_step.Step]:
        return (one_step.setting(self.owner, name, value) for name, value in self.names.items())

    def undoing(self) -> Iterator[one_step.Step]:
        assert isinstance(self.owner, type)
        for name, value in self.were.items():
            there = value is not ABSENT
            yield one_step.setting(self.owner, name, value) if there else one_step.deleting(self.owner, name)

    def in_place(self) -> bool:
        return all(vars(self.owner).get(name, ABSENT) is value for name, value in self.names.items())

    def overwritten_by(self) -> str:
        return "" if self.in_place() else self.owner_now()

    def owner_now(self) -> str:
        return f"something that made {self.target.path.rpartition('.')[0]} a dataclass of other fields"

    def is_held_by_others(self) -> bool:
        return False

    def reversed(self) -> Site:
        site = Site(self.target, self.owner, self.name, self.after, self.before)
        site.alone = self.alone
        return site
