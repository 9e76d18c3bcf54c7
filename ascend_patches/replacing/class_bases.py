"""Give an existing class other bases, and take them away again: one step, like every replacement."""

from __future__ import annotations

import importlib
import sys
from abc import ABCMeta
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from ascend_patches.declaring.carried import Carried
from ascend_patches.declaring.target import Target
from ascend_patches.errors import TargetError
from ascend_patches.replacing import one_step
from ascend_patches.replacing.find import ABSENT, Found, owner_of
from ascend_patches.replacing.site import Site

BASES = "__bases__"


def find_class(rewrite: Carried) -> Found:
    """The class and the bases that it has; TargetError where these are not the release's."""
    owner, _ = owner_of(rewrite.target, sys.modules[rewrite.module])
    if not isinstance(owner, type):
        raise TargetError(f"{rewrite.target}: its owner is no class")
    names = [each.rpartition(".")[2] for each in _listed(rewrite.was)]
    there = [base.__name__ for base in owner.__bases__]
    if there != (names or ["object"]):
        raise TargetError(f"{rewrite.target}: its bases are {', '.join(there)}, and the change was made to {names}")
    return Found(owner, BASES, owner.__bases__, False)


def make(rewrite: Carried, found: Found, made: Mapping[Target, Any]) -> tuple[type, ...]:
    """The bases that the class is to have: those that it has, and those that the change adds."""
    assert isinstance(found.owner, type)
    there = found.owner.__bases__ if rewrite.was else ()
    return (*there, *(_named(rewrite, name, made) for name in _listed(rewrite.value)[len(there) :]))


class BasesSite(Site):
    """The bases of a class, which stand in no namespace."""

    __slots__ = ()

    def steps(self) -> Iterator[one_step.Step]:
        yield one_step.setting(self.owner, self.name, self.after)
        yield from self._forgetting()

    def undoing(self) -> Iterator[one_step.Step]:
        yield one_step.setting(self.owner, self.name, self.before)
        yield from self._forgetting()

    def in_place(self) -> bool:
        return isinstance(self.owner, type) and self.owner.__bases__ == self.after

    def overwritten_by(self) -> str:
        return "" if self.in_place() else self.owner_now()

    def owner_now(self) -> str:
        return f"something that gave {self.target.path.rpartition('.')[0]} other bases"

    def is_held_by_others(self) -> bool:
        return False

    def reversed(self) -> Site:
        site = BasesSite(self.target, self.owner, self.name, self.after, self.before)
        site.alone = self.alone
        return site

    def _forgetting(self) -> Iterator[one_step.Step]:
        """Abstract classes remember which classes inherit from them."""
        reset = importlib.import_module("_abc")._reset_caches
        for base in dict.fromkeys(each for added in {*self.after} - {*self.before} for each in added.__mro__):
            if isinstance(base, ABCMeta):
                yield partial(reset, base)


def _named(rewrite: Carried, name: str, made: Mapping[Target, Any]) -> type:
    first, *rest = name.split(".")
    target = Target(f"{rewrite.home}:{first}")
    value = made[target] if target in made else sys.modules[rewrite.home].__dict__.get(first, ABSENT)
    for part in rest:
        value = getattr(value, "__dict__", {}).get(part, ABSENT)
    if not isinstance(value, type):
        raise TargetError(f"{rewrite.target}: {rewrite.home} has no class {name}")
    return value


def _listed(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]
