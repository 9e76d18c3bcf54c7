"""The code of targets as upstream has it in this process, as far as it is imported."""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import Any

from ascend_patches.declaring.target import Target
from ascend_patches.errors import TargetError
from ascend_patches.process.imports import Imports
from ascend_patches.replacing.find import find, foreign_wrapper
from ascend_patches.upstream import fingerprints
from ascend_patches.upstream.finding import Finding


class KnownCode:
    """What one patch has found out; what it replaced is remembered as it was."""

    def __init__(self, imports: Imports) -> None:
        self._imports = imports
        self._originals: dict[Target, Finding] = {}
        self._looked_at: dict[Target, tuple[Any, Finding]] = {}

    def of(self, target: Target) -> Finding:
        """What there is at a target now, or was before it was replaced."""
        if target in self._originals:
            return self._originals[target]
        module = sys.modules.get(target.module)
        if module is None or self._imports.is_being_executed(target.module):
            return Finding("pending")
        try:
            found = find(target, module)
        except TargetError as error:
            return Finding("absent", str(error))
        wrapper = foreign_wrapper(found.value)
        if wrapper:
            return Finding("wrapped", f"{target} is wrapped by {wrapper}, whose work a replacement would undo")
        known = self._looked_at.get(target)
        if known is None or known[0] is not found.value:
            fingerprint = fingerprints.of_function(found.value)
            finding = Finding("code", fingerprint) if fingerprint else Finding("no source", "no source available")
            known = self._looked_at[target] = (found.value, finding)
        return known[1]

    def keep(self, target: Target) -> None:
        """Remember a target that is about to be replaced, and hold nothing of it: that would be a holder as well."""
        self._originals[target] = self.of(target)
        self._looked_at.pop(target, None)

    def forget(self, target: Target) -> None:
        self._originals.pop(target, None)

    def forget_module(self, module: str, but: Collection[Target]) -> None:
        """A module was executed (again): what was known is of code that is gone, but for what is replaced already."""
        for target in [target for target in self._originals if target.module == module and target not in but]:
            del self._originals[target]

    def forget_all(self) -> None:
        """Nothing is replaced any more."""
        self._originals.clear()
