"""What functions reach that is not among the arguments of a call: globals, defaults, and what these hold.

It is found by the names in their code and in that of the functions which they call, as far as these belong to the same
packages. It is what a run may change without being given it.
"""

from __future__ import annotations

import dis
import sys
from collections import deque
from collections.abc import Collection, Iterable
from enum import Enum, EnumMeta
from functools import lru_cache, partial
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, MethodWrapperType, ModuleType
from typing import Any, NamedTuple

from ascend_patches.shadow.kinds import (
    ATOMS,
    CONTENT,
    FINALIZER,
    LOCK,
    VIEW,
    attributes_of,
    count_of,
    entries_of,
    is_array,
    is_known,
    is_logger,
    is_tensor,
    only_once,
)
from ascend_patches.shadow.randomness import is_a_source

_MOST_FUNCTIONS = 200
_MOST_VALUES = 2_000
_DEEPEST_CALL = 3
_DEEPEST_VALUE = 3
_NEAR = 1
"""How deep a call may be for which it matters that what it knows cannot be used twice: of most, nothing is called."""
_LONGEST = 100
"""Entries of a container that are looked into."""
_FOREIGN = frozenset(
    {
        *("builtins", "torch", "torch_npu", "numpy", "typing", "types", "collections", "functools", "itertools"),
        *("math", "re", "logging", "contextlib", "dataclasses", "enum", "abc", "inspect", "warnings", "importlib"),
        *("sys", "threading", "_thread", "_weakrefset", "weakref", "multiprocessing", "ascend_patches"),
    }
)
"""Packages whose modules and classes hold no state of a call."""
_WITHOUT_STATE = frozenset(
    {"builtins", "torch", "torch_npu", "numpy", "typing", "logging", "importlib", "inspect", "ascend_patches"}
)
"""Packages whose objects do not either."""


class Named(NamedTuple):
    """The names in a function's code, and in that of the functions within it."""

    read: tuple[str, ...]
    assigned: tuple[str, ...]
    attributes: tuple[str, ...]
    imported: tuple[str, ...]


class Name(NamedTuple):
    """A name of a module, or of another table, that code assigns to."""

    table: dict[str, Any]
    name: str


class Reach:
    """Everything that some functions reach; with ``closures``, variables of the functions around them as well."""

    def __init__(self, functions: Iterable[Any], classes: Collection[type] = (), closures: bool = False) -> None:
        self.values: dict[int, Any] = {}
        """By identity: containers, objects, tensors, arrays."""
        self.classes: dict[int, type] = {}
        self.assigned: dict[tuple[int, str], Name] = {}
        self.cells: dict[int, CellType] = {}
        self.only_once = ""
        """Why a run cannot be made twice, because of what they reach."""
        self._closures = closures
        self._classes = [kind for kind in classes if not is_foreign(kind.__module__)]
        self._seen: dict[int, Any] = {}
        self._functions: deque[tuple[FunctionType, int]] = deque()
        self._roots: set[str] = set()
        for function in functions:
            if isinstance(function, FunctionType):
                self._roots.add(_root(function))
                self._call(function, 0)
        count = 0
        while self._functions and count < _MOST_FUNCTIONS:
            self._enter(*self._functions.popleft())
            count += 1

    def _enter(self, function: FunctionType, depth: int) -> None:
        names = function.__globals__
        named = named_in(function.__code__)
        for name in named.assigned:
            self.assigned[id(names), name] = Name(names, name)
        held = [names[name] for name in named.read if name in names]
        held += [sys.modules[name] for name in named.imported if name in sys.modules]
        held += [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
        for cell in (function.__closure__ if self._closures else None) or ():
            self.cells[id(cell)] = cell
            try:
                held.append(cell.cell_contents)
            except ValueError:  # not filled yet
                continue
        for value in held:
            self._reach(value, named.attributes, depth, 0)
        for kind in self._classes:
            for name in named.attributes:
                method = next((base.__dict__[name] for base in kind.__mro__ if name in base.__dict__), None)
                self._reach(getattr(method, "__func__", getattr(method, "fget", method)), (), depth, _DEEPEST_VALUE)

    def _reach(self, value: Any, attributes: tuple[str, ...], depth: int, level: int) -> None:
        kind = type(value)
        if kind is FunctionType:
            self._call(value, depth + 1)
            return
        # The interpreter's own table changes with every import, and nothing of it is to be put back.
        plain = (kind in ATOMS and kind is not ModuleType) or value is sys.modules
        if plain or id(value) in self._seen or len(self._seen) >= _MOST_VALUES:
            return
        self._seen[id(value)] = value
        if is_a_source(value) or isinstance(value, (Enum, EnumMeta)):
            return
        if kind is ModuleType or isinstance(value, ModuleType):
            self._module(value, attributes, depth, level)
        elif isinstance(value, type):
            if not is_foreign(value.__module__):
                self.classes[id(value)] = value
        elif kind in (MethodType, BuiltinFunctionType, MethodWrapperType):
            self._reach(getattr(value, "__func__", None), (), depth, level)
            self._reach(value.__self__, (), depth, level)
        elif kind is partial:
            for each in (value.func, *value.args, *value.keywords.values()):
                self._reach(each, (), depth, level)
        elif is_tensor(value) or is_array(value) or isinstance(value, CONTENT):
            self.values[id(value)] = value
            if isinstance(value, CONTENT) and level < _DEEPEST_VALUE:
                self._content(value, depth, level)
        elif isinstance(value, (tuple, frozenset)):
            self._content(value, depth, level)
        else:
            self._object(value, kind, depth, level)

    def _object(self, value: Any, kind: type, depth: int, level: int) -> None:
        if kind.__module__.partition(".")[0] == "ascend_patches":
            return
        why_not = only_once(kind)
        held = attributes_of(value)
        if why_not not in ("", LOCK, FINALIZER, VIEW) or (held is None and not why_not and not _is_harmless(kind)):
            if depth <= _NEAR:
                self.only_once = self.only_once or f"{why_not or f'a {kind.__qualname__}'} that it knows by itself"
            return
        if held is None:
            return
        if is_logger(value) or kind.__module__.partition(".")[0] in _WITHOUT_STATE:
            return
        self.values[id(value)] = value
        if level < _DEEPEST_VALUE and not kind.__name__.endswith("Config"):
            for each in held.values():
                self._reach(each, (), depth, level + 1)

    def _content(self, value: Any, depth: int, level: int) -> None:
        for each in entries_of(value) if count_of(value) <= _LONGEST else ():
            self._reach(each, (), depth, level + 1)

    def _module(self, module: ModuleType, attributes: tuple[str, ...], depth: int, level: int) -> None:
        """Of a module, what the code that reads it names."""
        names = vars(module)
        if is_foreign(str(names.get("__name__", ""))):
            return
        for name in attributes:
            if name in names:
                if not callable(names[name]) and not isinstance(names[name], ModuleType):
                    self.assigned[id(names), name] = Name(names, name)
                self._reach(names[name], attributes, depth, level)

    def _call(self, function: FunctionType, depth: int) -> None:
        if id(function) in self._seen:
            return
        self._seen[id(function)] = function
        if function.__dict__:
            self.values[id(function)] = function
        if depth <= _DEEPEST_CALL and _root(function) in self._roots:
            self._functions.append((function, depth))


def _is_harmless(kind: type) -> bool:
    return kind is object or is_known(kind) or issubclass(kind, Enum) or is_foreign(kind.__module__)


def is_foreign(module: str) -> bool:
    return module.partition(".")[0] in _FOREIGN


def _root(function: FunctionType) -> str:
    """The package whose code a function is, whatever name it goes by."""
    return str(function.__globals__.get("__name__", "")).partition(".")[0]


_OF_AN_OBJECT = ("LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR", "DELETE_ATTR", "LOAD_SUPER_ATTR", "IMPORT_FROM")


@lru_cache(maxsize=4096)
def named_in(code: CodeType) -> Named:
    read, assigned, attributes, imported = set(), set(), set(), set()
    for instruction in dis.get_instructions(code):
        name = instruction.opname
        if name in ("LOAD_GLOBAL", "LOAD_NAME"):
            read.add(str(instruction.argval))
        elif name in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            assigned.add(str(instruction.argval))
        elif name.startswith(_OF_AN_OBJECT):
            attributes.add(str(instruction.argval))
        elif name == "IMPORT_NAME":
            imported.add(str(instruction.argval))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            inner = named_in(constant)
            read.update(inner.read)
            assigned.update(inner.assigned)
            attributes.update(inner.attributes)
            imported.update(inner.imported)
    return Named(tuple(sorted(read)), tuple(sorted(assigned)), tuple(sorted(attributes)), tuple(sorted(imported)))
