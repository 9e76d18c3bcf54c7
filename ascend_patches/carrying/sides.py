"""One item of a change on each of its sides."""

from __future__ import annotations

from ascend_patches.carrying.inventory import Inventory, Item


class Sides:
    """An item before, after and on the release, and the texts that these are in."""

    def __init__(
        self,
        old: Item | None,
        new: Item,
        release: Item | None,
        before: Inventory,
        after: Inventory,
        there: Inventory,
        place: str,
    ) -> None:
        self.old = old
        self.new = new
        self.release = release
        self.before = before
        self.after = after
        self.there = there
        self.place = place
        self.upstream_place = place
        self.merge_doubts: list[str] = []
