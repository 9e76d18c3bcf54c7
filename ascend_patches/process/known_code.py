"""The code of targets as upstream has it in this process, as far as it is imported."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from ascend_patches.declaring.target import Target
from ascend_patches.errors import TargetError
from ascend_patches.process.imports import Imports
from ascend_patches.replacing.find import author, find, foreign_wrapper
from ascend_patches.upstream import fingerprints
from ascend_patches.upstream.finding import Finding

_PENDING = object()
"""Stands for what is not imported yet."""


class KnownCode:
    """What one patch has found out; what it replaced is remembered as it was."""

    def __init__(self, imports: Imports, upstream: Callable[[Any], Any]) -> None:
        self._imports = imports
        self._upstream = upstream
        """Of what a patch has put in place, what was there; of anything else, itself."""
        self._originals: dict[Target, Finding] = {}
        self._looked_at: dict[Target, tuple[Any, Finding]] = {}
        self._authors: dict[Target, str] = {}
        """Who put something else at a target after it was first looked at."""

    def of(self, target: Target) -> Finding:
        """What there is at a target now, or was before it was replaced."""
        if target in self._originals:
            return self._originals[target]
        value = self._value_at(target)
        if value is _PENDING:
            return Finding("pending")
        known = self._looked_at.get(target)
        if known is None or not _same(known[0], value):
            self._note_author(target, value, known is not None)
            known = self._looked_at[target] = (value, _finding(target, value))
        return known[1]

    def any_moved(self, targets: Iterable[Target]) -> bool:
        """Whether there is something else at one of these targets than when it was looked at last."""
        return any(map(self._moved, targets))

    def exchanged(self, targets: Iterable[Target]) -> list[str]:
        """What was put at these targets after they were first looked at, and by what, in words."""
        authors = self._authors
        return [f"{each}, which it relies on, now belongs to {authors[each]}" for each in targets if each in authors]

    def _moved(self, target: Target) -> bool:
        known = self._looked_at.get(target)
        value = self._value_at(target) if known is not None else _PENDING
        return known is not None and value is not _PENDING and not _same(value, known[0])

    def _value_at(self, target: Target) -> Any:
        """What is at a target, or the error that says why nothing is."""
        module = self._imports.module(target.module)
        if module is None or self._imports.is_being_executed(target.module):
            return _PENDING
        try:
            found = find(target, module)
            # A class inherits what a patch has put into its base, and is no other class for that.
            return self._upstream(found.value) if found.inherited else found.value
        except TargetError as error:
            return error

    def _note_author(self, target: Target, value: Any, known: bool) -> None:
        who = author(value) if known and not isinstance(value, TargetError) else ""
        if who and not who.startswith(f"{target.module} ("):
            self._authors[target] = who
        else:
            self._authors.pop(target, None)

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
        for target in [target for target in self._looked_at if target.module == module]:
            del self._looked_at[target]
            self._authors.pop(target, None)

    def forget_all(self) -> None:
        """Nothing is replaced any more."""
        self._originals.clear()


def _same(one: Any, other: Any) -> bool:
    return one is other or (isinstance(one, TargetError) and isinstance(other, TargetError))


def _finding(target: Target, value: Any) -> Finding:
    if isinstance(value, TargetError):
        return Finding("absent", str(value))
    wrapper = foreign_wrapper(value)
    if wrapper:
        return Finding("wrapped", f"{target} is wrapped by {wrapper}, whose work a replacement would undo")
    fingerprint = fingerprints.of_function(value)
    return Finding("code", fingerprint) if fingerprint else Finding("no source", "no source available")
