"""Patches by name, and where each comes from."""

from __future__ import annotations

from collections.abc import Iterable

from ascend_patches.declaring.patch import Patch


class Registry:
    """The patches that are known, by name."""

    def __init__(self, patches: Iterable[Patch] = ()) -> None:
        self.patches: dict[str, Patch] = {}
        self.origins: dict[str, str] = {}
        """Where each patch comes from, for lists."""
        self.problems: list[str] = []
        for patch in patches:
            self.add(patch, "given")

    def add(self, patch: Patch, origin: str) -> None:
        if patch.name in self.patches:
            self.problems.append(f"a second patch named {patch.name!r}, from {origin}, is left out")
        else:
            self.patches[patch.name] = patch
            self.origins[patch.name] = origin

    def roots(self) -> tuple[str, ...]:
        """The top-level packages whose import has to wake the toolkit."""
        modules = (module for patch in self.patches.values() for module in patch.modules)
        return tuple(sorted({module.partition(".")[0] for module in modules}))
