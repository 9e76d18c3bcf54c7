"""One replaced target: what is there, what was there, and whether that is still so."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any
from weakref import getweakrefcount

from ascend_patches.declaring.target import Target
from ascend_patches.errors import TargetError
from ascend_patches.replacing import one_step
from ascend_patches.replacing.find import ABSENT, author, find, function_of
from ascend_patches.replacing.inside import codes_of


class Site:
    """One target that was replaced: all there is to know to check it and to undo it."""

    __slots__ = (
        "_replacement",
        "after",
        "alone",
        "before",
        "codes",
        "keeps_original_as",
        "keeps_original_in",
        "module_name",
        "name",
        "original",
        "owner",
        "target",
    )

    def __init__(self, target: Target, owner: ModuleType | type, name: str, before: Any, after: Any) -> None:
        self.target = target
        self.owner = owner
        self.name = name
        self.before = before
        self.after = after
        self.original = before
        """What a call of the target ran before, inherited or not."""
        self.replacement = after
        self.keeps_original_in: dict[str, Any] | None = None
        self.keeps_original_as = ""
        self.module_name = ""
        """The name by which what is put in place is imported, if it is a module."""
        self.alone = False
        """Whether others that hold the same value hold it for reasons of their own: a number, an imported module."""

    @property
    def replacement(self) -> Any:
        """What is there now, without what may stand in front of it."""
        return self._replacement

    @replacement.setter
    def replacement(self, value: Any) -> None:
        self._replacement = value
        self.codes = (_codes(self.after), _codes(value))

    def steps(self) -> Iterator[one_step.Step]:
        """What puts the replacement in place: the original is kept before anything can ask for it."""
        if self.keeps_original_in is not None:
            yield one_step.item(self.keeps_original_in, self.keeps_original_as, function_of(self.original))
        if self.module_name:
            yield one_step.item(sys.modules, self.module_name, self.after)
        yield one_step.setting(self.owner, self.name, self.after)

    def undoing(self) -> Iterator[one_step.Step]:
        """What puts back what was there; whether the site is still ours is for the caller to ask first.

        The original stays kept: an existing object may go on holding the replacement as a bound method, and calling it.
        """
        if self.before is ABSENT and isinstance(self.owner, type):
            yield one_step.deleting(self.owner, self.name)
        elif self.before is ABSENT:
            yield one_step.removing(vars(self.owner), self.name)
        else:
            yield one_step.setting(self.owner, self.name, self.before)
        if self.module_name and sys.modules.get(self.module_name) is self.after:
            yield one_step.removing(sys.modules, self.module_name)

    def forget_original(self) -> None:
        """What was not put in place keeps no original."""
        if self.keeps_original_in is not None:
            self.keeps_original_in.pop(self.keeps_original_as, None)

    def forget_module(self) -> None:
        """A module that was not put in place is not to be imported."""
        if self.module_name and sys.modules.get(self.module_name) is self.after and not self.in_place():
            del sys.modules[self.module_name]

    def in_place(self) -> bool:
        return self.owner.__dict__.get(self.name) is self.after

    def is_gone_with(self, module: str) -> bool:
        """Whether the code that was replaced is gone after a module was executed (again).

        Another thread may have seen the module's end first and have replaced the new code: that site stays.
        """
        return self.target.module == module and not (self.in_place() and not self.overwritten_by())

    def knows_its_class(self) -> bool:
        """Whether a call leads to the class that is there now, and would refuse objects of a class that was before."""
        function = function_of(self.replacement)
        names = getattr(getattr(function, "__code__", None), "co_names", ())
        return isinstance(self.owner, type) and (self.keeps_original_in is not None or "super" in names)

    def is_held_by_others(self) -> bool:
        """Whether there are references to the original that are not ours: a table, a default, another name in a class.

        Their number says so at once; naming them takes a search through all objects.
        """
        ours = 1 if function_of(self.before) is not self.before else 2  # its descriptor; this object's two names for it
        ours += self.keeps_original_in is not None
        ours += getattr(function_of(self.replacement), "__wrapped__", None) is function_of(self.before)  # advice
        held = sys.getrefcount(function_of(self.before)) > ours + 1  # and that of the call
        return held or getweakrefcount(function_of(self.before)) > 0

    def overwritten_by(self) -> str:
        """Whose work is reached at the target now, in words; empty as long as it is ours.

        The target is looked up as a caller would, because its class may have been exchanged as well. What names our
        replacement as the function that it wraps leads to ours.
        """
        if self.alone:
            return "" if self.in_place() else self.owner_now()
        module = sys.modules.get(self.target.module)
        try:
            value = find(self.target, module).value if module is not None else self.owner.__dict__.get(self.name)
        except TargetError as error:
            return f"nothing: {error}"
        seen: set[int] = set()
        now = value
        while id(now) not in seen:
            if now is self.after or function_of(now) is function_of(self.after):
                return self._exchanged_code()
            seen.add(id(now))
            now = _wrapped_by(function_of(now))
        return author(value)

    def _exchanged_code(self) -> str:
        """Whose code our own functions run now, if it is not ours any more."""
        values = (self.after, self.replacement)
        if all(_codes(each) == code for each, code in zip(values, self.codes, strict=True)):
            return ""
        return f"{author(self.replacement if _codes(self.after) == self.codes[0] else self.after)}, as its code"

    def reversed(self) -> Site:
        """The site as if the replacement had been the original, to search for holders of the replacement."""
        site = Site(self.target, self.owner, self.name, self.after, self.before)
        site.alone = self.alone
        return site

    def owner_now(self) -> str:
        """Whose work is there, if it is not ours any more."""
        return author(self.owner.__dict__.get(self.name, ABSENT))


def _codes(value: Any) -> tuple[int, ...]:
    """By identity, the code that a call of a value runs first."""
    return tuple(map(id, codes_of(value)))


def _wrapped_by(value: Any) -> Any:
    """What a wrapper says it is around; the value itself where it is none, or where it cannot come to call that."""
    kind = type(value)
    if "__wrapped__" not in getattr(value, "__dict__", ()) and not hasattr(kind, "__wrapped__"):
        return value
    inner = getattr(value, "__wrapped__", value)
    if kind is not FunctionType or value.__closure__:
        return inner
    defaults = (*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values())
    if not all(isinstance(each, (str, int, float, bytes, type(None))) for each in defaults):
        return inner
    names = value.__code__.co_names
    knows = "__wrapped__" in names or any(value.__globals__.get(name) is inner for name in names)
    return inner if knows else value
