"""Import events of one process: which modules were executed, and which are being executed now."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from types import ModuleType

from ascend_patches.basics.modules import is_being_executed
from ascend_patches.process.finder import Finder

Executed = Callable[[str, ModuleType, frozenset[str]], None]
"""Called with a module's name, what has that name now, and the names of the modules that were there before it."""


class Imports:
    """What the finder has seen."""

    def __init__(self, finder: Finder) -> None:
        self.finder = finder

    @property
    def executed(self) -> dict[str, ModuleType]:
        """The modules whose execution the finder has seen end."""
        return self.finder.executed

    def watch(self, modules: Iterable[str], then: Executed) -> None:
        """Have ``then`` called whenever one of the modules was executed, in place of what was to be called before."""
        self.finder.after.update(dict.fromkeys(modules, then))

    def watch_besides(self, modules: Iterable[str], then: Executed) -> None:
        """The same for those of the modules that nothing watches yet."""
        for module in modules:
            self.finder.after.setdefault(module, then)

    def module(self, name: str) -> ModuleType | None:
        """What has a module's name now.

        Python's import takes a module out of ``sys.modules`` once it was executed, and puts it back. Another thread's
        look between the two would be the last one: the module's end was told before, and is not told again.
        """
        there = sys.modules.get(name)
        if there is not None:
            return there
        executed = self.executed.get(name)
        return sys.modules.setdefault(name, executed) if is_being_executed(executed) and executed is not None else None

    def is_being_executed(self, name: str) -> bool:
        """Whether a module is not whole yet. One whose execution was seen to end is, whatever its spec says."""
        module = self.module(name)
        return is_being_executed(module) and self.executed.get(name) is not module

    def missed(self, name: str) -> bool:
        """Whether a module was imported out of the finder's sight."""
        module = self.module(name)
        return module is not None and name not in self.executed and not is_being_executed(module)
