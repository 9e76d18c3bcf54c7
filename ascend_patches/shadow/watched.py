"""What both runs of a call share and neither may change: looked at before the original runs, and after it."""

from __future__ import annotations

import sys
from types import CellType, FunctionType
from typing import Any

from ascend_patches.shadow.copies import Copies
from ascend_patches.shadow.kinds import ATOMS, CONTENT, attributes_of, built_in_base, count_of, is_array, is_tensor
from ascend_patches.shadow.reach import Name, Reach, is_foreign

_LARGEST = 10_000


class Watched:
    """The state of what is shared, at the moment when this was made.

    ``reach`` is what the original reaches. What its own code names is near: a run that writes there is not compared.
    """

    def __init__(self, copies: Copies, original: FunctionType | None, reach: Reach) -> None:
        near = _near(original) if original is not None else set()
        theirs = Reach(copies.functions.values(), closures=True)
        classes = [*copies.classes.values(), *reach.classes.values(), *theirs.classes.values()]
        self._near: list[_Seen] = [_seen(value) for value in copies.shared.values()]
        self._near += [
            _ClassAttributes(kind)
            for kind in {id(kind): kind for kind in classes}.values()
            if not is_foreign(kind.__module__)
        ]
        self._far: list[_Seen] = []
        for found in (theirs, reach):
            for key, value in found.values.items():
                if key not in copies.shared:
                    (self._near if key in near or found is theirs else self._far).append(_seen(value))
            for name in found.assigned.values():
                own = original is not None and name.table is original.__globals__
                (self._near if own else self._far).append(_Assigned(name))
            self._near += map(_Cell, found.cells.values())
        self.only_once = theirs.only_once or reach.only_once

    def changed(self) -> str:
        """What is not as it was, in a few words; empty if nothing is."""
        return next((seen.what for seen in (*self._near, *self._far) if seen.changed()), "")

    def changed_near(self) -> str:
        """The same of what the original names itself, or is given."""
        return next((seen.what for seen in self._near if seen.changed()), "")

    def restore(self) -> None:
        """Put back what was changed, as far as that can be done.

        What lies farther away may just as well be the work of another thread: where there is one, it stays.
        """
        for seen in (*self._near, *(self._far if len(sys._current_frames()) == 1 else ())):
            if seen.changed():
                seen.restore()


def _near(function: FunctionType) -> set[int]:
    """By identity, what a function's own code names, its defaults and what its closure holds."""
    near = {id(each) for each in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())}
    names = function.__globals__
    return near | {id(names[name]) for name in function.__code__.co_names if name in names}


def _seen(value: Any) -> _Seen:
    if is_tensor(value):
        return _Version(value)
    if is_array(value):
        return _Array(value)
    return _Content(value) if isinstance(value, CONTENT) else _Attributes(value)


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
    what = "writes into what both runs share"

    def __init__(self, value: Any) -> None:
        self._value = value
        self._before = attributes_of(value) or {}
        # What a configuration counts and caches in containers of its own is no part of an answer.
        inside = () if type(value).__name__.endswith("Config") else self._before.values()
        self._inside = [_Content(each) for each in inside if type(each) in CONTENT]

    def changed(self) -> bool:
        now = attributes_of(self._value) or {}
        return not _same(now, self._before) or any(each.changed() for each in self._inside)

    def restore(self) -> None:
        for each in self._inside:
            if each.changed():
                each.restore()
        own = getattr(self._value, "__dict__", None)
        if not isinstance(own, dict):
            return
        for name in own.keys() - self._before.keys():
            del own[name]
        own.update({name: each for name, each in self._before.items() if own.get(name, own) is not each})


class _ClassAttributes(_Seen):
    """The data that a class holds; its functions are not looked at, because patches come and go."""

    what = "assigns to a class"

    def __init__(self, kind: type) -> None:
        self._kind = kind
        self._before = _data(kind)
        self._inside = [_Content(value) for value in self._before.values() if type(value) in CONTENT]

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
        self._base = built_in_base(type(value))
        self._before = self._entries() if count_of(value) <= _LARGEST else None
        self._size = count_of(value)

    def changed(self) -> bool:
        if self._before is None:
            return count_of(self._value) != self._size
        now = self._entries()
        return len(now) != len(self._before) or any(
            one is not other and not (type(one) in ATOMS and _equal(one, other))
            for one, other in zip(now, self._before, strict=True)
        )

    def restore(self) -> None:
        if self._before is None:
            return
        if isinstance(self._value, dict):
            self._base.clear(self._value)
            self._base.update(self._value, zip(self._before[::2], self._before[1::2], strict=True))
        elif isinstance(self._value, set):
            set.clear(self._value)
            set.update(self._value, self._before)
        elif hasattr(self._value, "typecode") or isinstance(self._value, bytearray):
            self._base.__delitem__(self._value, slice(None))
            self._base.extend(self._value, self._before)
        else:
            self._base.clear(self._value)
            self._base.extend(self._value, self._before)

    def _entries(self) -> list[Any]:
        """What is in it: of a dictionary each key, followed by its value."""
        if isinstance(self._value, dict):
            return [each for entry in dict.items(self._value) for each in entry]
        return list(self._base.__iter__(self._value))


class _Array(_Seen):
    what = "writes into an array that both runs share"

    def __init__(self, value: Any) -> None:
        self._value = value
        self._before = value.copy() if value.nbytes <= _LARGEST * 8 else None

    def changed(self) -> bool:
        return self._before is not None and self._value.tobytes() != self._before.tobytes()

    def restore(self) -> None:
        self._value[...] = self._before


class _Assigned(_Seen):
    """A global that a function assigns to, or an attribute of a module that it names."""

    what = "assigns to a global"

    def __init__(self, name: Name) -> None:
        self._names, self._name = name
        self._before = self._names.get(self._name, self._names)

    def changed(self) -> bool:
        return self._names.get(self._name, self._names) is not self._before

    def restore(self) -> None:
        if self._before is self._names:
            self._names.pop(self._name, None)
        else:
            self._names[self._name] = self._before


class _Cell(_Seen):
    """A variable of the function around another one."""

    what = "assigns to a variable of a closure"

    def __init__(self, cell: CellType) -> None:
        self._cell = cell
        self._before = self._content()

    def changed(self) -> bool:
        return self._content() is not self._before

    def restore(self) -> None:
        if self._before is self:
            del self._cell.cell_contents
        else:
            self._cell.cell_contents = self._before

    def _content(self) -> Any:
        try:
            return self._cell.cell_contents
        except ValueError:  # empty
            return self


def _data(kind: type) -> dict[str, Any]:
    return {
        name: value
        for name, value in list(kind.__dict__.items())
        if not callable(value) and not hasattr(type(value), "__get__") and not name.startswith("__")
    }


def _same(one: dict[Any, Any], other: dict[Any, Any]) -> bool:
    return one.keys() == other.keys() and all(value is other[key] for key, value in one.items())


def _equal(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _version(tensor: Any) -> int:
    try:
        return int(tensor._version)
    except (RuntimeError, AttributeError):  # made in inference mode, or no tensor of torch
        return 0
