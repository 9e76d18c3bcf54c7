"""The import finder: tells when watched modules execute. It is loaded early and imports nothing but sys."""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Loader:
    """Stands in for a watched module's loader until the module executes, then puts the real one back.

    By the time the module's own code runs, nothing of this object is left on the module or its spec.
    """

    __slots__ = ("_finder", "_loader")

    def __init__(self, finder: "Finder", loader: "Any") -> None:
        self._finder = finder
        self._loader = loader

    def __getattr__(self, name: str) -> "Any":
        return getattr(self._loader, name)

    def __setattr__(self, name: str, value: "Any") -> None:
        # Tracers put hooks of theirs on the loader that they find.
        if name in Loader.__slots__:
            object.__setattr__(self, name, value)
        else:
            setattr(self._loader, name, value)

    def __reduce_ex__(self, protocol: "Any") -> "Any":
        return _the_real_one, (self._loader,)

    def create_module(self, spec: "Any") -> "Any":
        create = getattr(self._loader, "create_module", None)
        return create(spec) if create is not None else None

    def exec_module(self, module: "Any") -> None:
        loader = self._loader
        spec = module.__spec__
        spec.loader = module.__loader__ = loader
        finder = self._finder
        before = finder.before.get(spec.name)
        if before is not None:
            before()
        already_there = frozenset(sys.modules) - {spec.name}
        known = spec.name in finder.executed
        try:
            loader.exec_module(module)
        except BaseException:
            # Of a reload that failed, the module stays, with as much new code as was executed.
            if known and sys.modules.get(spec.name) is module:
                finder.tell(spec.name, module, already_there)
            raise
        try:
            # A module may have put another object in its own place while it executed.
            finder.tell(spec.name, sys.modules.get(spec.name, module), already_there)
        except BaseException:
            if not known:  # the import fails, and Python takes the module away
                finder.executed.pop(spec.name, None)
            raise


def _the_real_one(loader: "Any") -> "Any":
    return loader


class Finder:
    """A meta path finder that finds nothing itself: it tells when watched modules execute.

    ``before[name]()`` runs before the module's code and ``after[name](name, module, already_there)`` after it, with the
    names of the modules that were there before. Neither is ever taken out by an import, so that a reload, a retry or a
    second import is seen as well.
    """

    def __init__(self) -> None:
        self.before: dict[str, Callable[[], None]] = {}
        self.after: dict[str, Callable[[str, Any, frozenset[str]], None]] = {}
        self.executed: dict[str, Any] = {}
        self.unreachable: dict[str, str] = {}
        self.knows_all = True
        """Whether everything that is to be watched is in ``after``; False from the start of waiting to activation."""
        self.started_by: str | None = None

    def may_concern(self, name: str) -> bool:
        """Whether a module is watched, or may turn out to be.

        Until all that is to be watched is known, that is every part of a root: another thread may import one while the
        root itself is still on its way.
        """
        if name in self.after or name in self.before:
            return True
        return not self.knows_all and name.partition(".")[0] in self.before

    def tell(self, name: str, module: "Any", already_there: "frozenset[str]") -> None:
        """Say that a module was executed. It is noted first: what begins to be watched now, looks there afterwards."""
        self.executed[name] = module
        after = self.after.get(name)
        if after is not None:
            after(name, module, already_there)

    def install(self) -> None:
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def find_spec(self, name: str, path: "Any" = None, target: "Any" = None) -> "Any":
        if not self.may_concern(name):
            return None
        # Another finder may ask importlib for the same name again while it answers us: then it is its turn, not ours.
        # The stack is the one per-thread state that costs no import and cannot be left behind by an exception.
        frame: Any = sys._getframe(1)
        code = Finder.find_spec.__code__
        while frame is not None:
            if frame.f_code is code and frame.f_locals["self"] is self and frame.f_locals["name"] == name:
                return None
            frame = frame.f_back
        spec = self._ask_the_others(name, path, target)
        if spec is None:
            return None
        loader = spec.loader
        if hasattr(loader, "exec_module"):
            spec.loader = Loader(self, loader)
            return spec
        # A namespace package executes nothing, an old-fashioned loader nothing that we see: being found has to do.
        if loader is not None:
            self.unreachable[name] = f"its loader {type(loader).__name__} has no exec_module"
        before = self.before.get(name)
        if before is not None:
            before()
        return spec

    def _ask_the_others(self, name: str, path: "Any", target: "Any") -> "Any":
        others = list(sys.meta_path)
        if self in others:
            # Those in front of us were asked before we were.
            others = others[others.index(self) + 1 :]
        for finder in others:
            find = getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find is not None else None
            if spec is not None:
                return spec
        return None


finder = Finder()


_LONGEST = 8_000
"""Characters in one line of what is said; a variable of the environment may be as long as anything."""


def say(text: str) -> None:
    """Tell the operator on stderr, in a process that has one."""
    if _is_closed_below(sys.stderr):  # what is written stays in its buffer, and Python ends with an error of its own
        return
    try:
        for line in text.splitlines():
            # A name of a file or a setting may hold what steers a terminal.
            shown = line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."
            harmless = (each if each.isprintable() or each in "\t\u3000" else ascii(each)[1:-1] for each in shown)
            sys.stderr.write(f"ascend_patches: {''.join(harmless)}\n")
    except (AttributeError, OSError, RuntimeError, ValueError):  # absent, its reader gone, closed, or being written
        pass


def _is_closed_below(stream: "Any") -> bool:
    """Whether a stream is open and its descriptor is not."""
    import os

    try:
        descriptor = stream.fileno()
    except Exception:  # it has none, as in a notebook
        return False
    try:
        os.fstat(descriptor)
    except OSError:
        return True
    return False
