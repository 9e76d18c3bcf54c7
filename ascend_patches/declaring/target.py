"""A target: where something is replaced, or relied on."""

from __future__ import annotations

from functools import cache


class Target(str):
    """``package.module:Class.attribute``, as it is written in declarations, locks, reports and messages.

    It is a string, so that it is equal to what a lock or a report holds, and can be written as JSON.
    """

    __slots__ = ()

    @property
    def module(self) -> str:
        """The module that has to be imported before the target is there."""
        return self.partition(":")[0]

    @property
    def path(self) -> str:
        """The way from the module to the target."""
        return self.partition(":")[2]

    @property
    def is_well_formed(self) -> bool:
        return _is_well_formed(self)


@cache
def _is_well_formed(target: Target) -> bool:
    # Many variants name one target, and all declarations are made before the first import that they wait for ends.
    return all(name.isidentifier() for name in (*target.module.split("."), *target.path.split(".")))
