"""What both runs of a call share and neither may change: looked at before the original runs, and after it."""

from __future__ import annotations

import dis
from collections import deque
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any

from ascend_patches.shadow.copies import Copies, attributes_of, is_tensor

_LARGEST = 10_000
_CONTAINERS = (list, dict, set, deque, bytearray)


class Watched:
    """The state of what is shared, at the moment when this was made."""

    def __init__(self, copies: Copies, original: FunctionType | None) -> None:
        self._seen: list[_Seen] = []
        for value in copies.shared.values():
            self._seen.append(_Version(value) if is_tensor(value) else _Attributes(value))
        self._seen += [_ClassAttributes(kind) for kind in copies.classes.values() if not _is_foreign(kind)]
        if original is not None:
            self._seen += _hidden(original)

    def changed(self) -> str:
        """What is not as it was, in a few words; empty if nothing is."""
        return next((seen.what for seen in self._seen if seen.changed()), "")

    def restore(self) -> None:
        """Put back what was changed, as far as that can be done."""
        for seen in self._seen:
            if seen.changed():
                seen.restore()


class _Seen:
    what = ""

    def changed(self) -> bool:
        return False

    def restore(self) -> None:
        """Nothing can be put back of what was not copied."""


class _Version(_Seen):
    """A tensor that is not copied: torch counts the writes to it."""

    what = "writes into a tensor that is too large to be copied"

    def __init__(self, tensor: Any) -> None:
        self._tensor = tensor
        self._version = _version(tensor)

    def changed(self) -> bool:
        return _version(self._tensor) != self._version


class _Attributes(_Seen):
    what = "writes into a configuration"

    def __init__(self, value: Any) -> None:
        self._value = value
        self._before = attributes_of(value) or {}

    def changed(self) -> bool:
        return not _same(attributes_of(self._value) or {}, self._before)

    def restore(self) -> None:
        own = self._value.__dict__
        for name in own.keys() - self._before.keys():
            del own[name]
        own.update({name: each for name, each in self._before.items() if own.get(name, own) is not each})


class _ClassAttributes(_Seen):
    """The data that a class holds; its functions are not looked at, because patches come and go."""

    what = "assigns to a class"

    def __init__(self, kind: type) -> None:
        self._kind = kind
        self._before = _data(kind)
        self._inside = [_Content(value) for value in self._before.values() if type(value) in _CONTAINERS]

    def changed(self) -> bool:
        return not _same(_data(self._kind), self._before) or any(each.changed() for each in self._inside)

    def restore(self) -> None:
        now = _data(self._kind)
        for name in now.keys() - self._before.keys():
            type.__delattr__(self._kind, name)
        for name, value in self._before.items():
            if now.get(name, now) is not value:
                type.__setattr__(self._kind, name, value)
        for each in self._inside:
            each.restore()


class _Content(_Seen):
    """A container that belongs to a module or to a function's defaults."""

    what = "writes into a global or a default"

    def __init__(self, value: Any) -> None:
        self._value = value
        self._before = value.copy() if len(value) <= _LARGEST else None
        self._size = len(value)

    def changed(self) -> bool:
        if self._before is None:
            return len(self._value) != self._size
        if isinstance(self._value, dict):
            return not _same(self._value, self._before)
        if isinstance(self._value, (set, bytearray)):
            return bool(self._value != self._before)
        pairs = zip(self._value, self._before, strict=False)
        return len(self._value) != self._size or any(one is not other for one, other in pairs)

    def restore(self) -> None:
        if self._before is not None:
            self._value.clear()
            (self._value.update if isinstance(self._value, (dict, set)) else self._value.extend)(self._before)


class _Assigned(_Seen):
    """A global that a function assigns to."""

    what = "assigns to a global"

    def __init__(self, names: dict[str, Any], name: str) -> None:
        self._names, self._name = names, name
        self._before = names.get(name, names)

    def changed(self) -> bool:
        return self._names.get(self._name, self._names) is not self._before

    def restore(self) -> None:
        if self._before is self._names:
            self._names.pop(self._name, None)
        else:
            self._names[self._name] = self._before


def _hidden(function: FunctionType) -> Iterator[_Seen]:
    """What a function can reach that is not among its arguments, as far as its own code names it."""
    names = function.__globals__
    read, assigned = _globals_of(function.__code__)
    for name in assigned:
        yield _Assigned(names, name)
    held = [names[name] for name in read if name in names]
    held += [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    for value in held:
        if type(value) in _CONTAINERS:
            yield _Content(value)


@lru_cache(maxsize=256)
def _globals_of(code: CodeType) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of globals that code reads, and of those that it assigns to."""
    read, assigned = set(), set()
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            read.add(str(instruction.argval))
        elif instruction.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            assigned.add(str(instruction.argval))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            more, others = _globals_of(constant)
            read.update(more)
            assigned.update(others)
    return tuple(sorted(read)), tuple(sorted(assigned))


def _data(kind: type) -> dict[str, Any]:
    return {
        name: value
        for name, value in list(kind.__dict__.items())
        if not callable(value) and not hasattr(type(value), "__get__") and not name.startswith("__")
    }


def _is_foreign(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in ("builtins", "torch", "collections", "types", "typing")


def _same(one: dict[Any, Any], other: dict[Any, Any]) -> bool:
    return one.keys() == other.keys() and all(value is other[key] for key, value in one.items())


def _version(tensor: Any) -> int:
    try:
        return int(tensor._version)
    except (RuntimeError, AttributeError):  # made in inference mode, or no tensor of torch
        return 0
