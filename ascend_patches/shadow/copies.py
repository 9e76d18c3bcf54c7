"""Copies of all that a call can reach, so that two runs of it do not see each other's changes.

What has no copy is recognised before anything is run: an iterator that is read twice, a file that is written twice, a
lock that is taken twice, an object of which only its maker knows what it holds.
"""

from __future__ import annotations

import array
import enum
import functools
import re
import types
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection
from threading import RLock
from typing import Any

from ascend_patches.shadow import common_memory
from ascend_patches.shadow.kinds import (
    ATOMS,
    attributes_of,
    built_in_base,
    is_array,
    is_known,
    is_logger,
    is_tensor,
    only_once,
    set_attributes,
)

MOST_BYTES = 512 * 1024**2
"""What all copies of a process may take together; a call that needs more is not compared."""
MOST_OBJECTS = 20_000
DEEPEST = 60
SHARED_FROM = 1024**2
"""Bytes from which a tensor that an object holds is watched instead of copied: weights, caches."""


class Room:
    """How much memory is left for copies."""

    def __init__(self, most: int) -> None:
        self._left = most
        self._lock = RLock()  # a signal's handler may come to it while its thread holds it

    def take(self, size: int) -> bool:
        """Whether there was room, which is taken now."""
        with self._lock:
            fits = size <= self._left
            self._left -= size if fits else 0
        return fits

    def give_back(self, size: int) -> None:
        with self._lock:
            self._left += size


ROOM = Room(MOST_BYTES)


class NoCopyError(Exception):
    """Why a call cannot be run twice, in a few words that are the same for all calls of the kind."""


class Copies:
    """The copies of one call's instance and arguments.

    What was one object in two places stays one. ``pairs`` has every object that can change, with its copy.
    """

    def __init__(self, room: Room, known: Collection[int] = ()) -> None:
        self.pairs: list[tuple[Any, Any]] = []
        self.shared: dict[int, Any] = {}
        """What both runs use; it is watched, by identity."""
        self.classes: dict[int, type] = {}
        """Classes of what was copied, and classes among the arguments."""
        self.functions: dict[int, Any] = {}
        """Functions that the call is given or its objects hold."""
        self._known = known
        """By identity, what functions know by a name: a copy of it would be taken for something else."""
        self._room = room
        self._taken = 0
        self._done: dict[int, tuple[Any, Any]] = {}
        """By identity, with the object itself, so that no other one can have that identity meanwhile."""
        self._memory: dict[int, common_memory.Shared] = {}
        self._rows: dict[int, Any] = {}
        self._lost: set[int] = set()
        self._depth = 0

    def of_call(self, instance: tuple[Any, ...], arguments: tuple[Any, dict[str, Any]]) -> tuple[Any, Any]:
        """Copies of what a method is called on and of its arguments.

        What the object holds may be large, or shared by a whole program; arguments are copied to their end.
        """
        given = common_memory.leaves(arguments, MOST_OBJECTS)
        held = [leaf for leaf in common_memory.leaves(instance, MOST_OBJECTS) if not _is_shared(leaf)]
        self._memory, lost = common_memory.shared_memory({id(leaf): leaf for leaf in [*given, *held]}.values())
        self._lost = set(map(id, lost))
        copied = self._copied(arguments, lenient=False)
        return tuple(self._copied(each, lenient=True) for each in instance), copied

    def original_of(self, value: Any) -> Any:
        """What a copy was made of; any other object is returned as it is."""
        found = self._originals.get(id(value))
        return found[1] if found is not None and found[0] is value else value

    @functools.cached_property
    def _originals(self) -> dict[int, tuple[Any, Any]]:
        return {id(made): (made, real) for real, made in self._done.values() if made is not real}

    def give_back(self) -> None:
        self._room.give_back(self._taken)
        self._taken = 0

    def _copied(self, value: Any, lenient: bool) -> Any:
        kind = type(value)
        if kind is types.FunctionType:
            self.functions[id(value)] = value
            return value
        if kind in ATOMS:
            return value
        known = self._done.get(id(value))
        if known is not None:
            return known[1]
        if len(self._done) >= MOST_OBJECTS:
            raise NoCopyError("too many objects")
        self._depth += 1
        if self._depth > DEEPEST:
            raise NoCopyError("objects within objects without an end")
        try:
            made = self._made(value, kind, lenient)
        finally:
            self._depth -= 1
        self._done[id(value)] = value, made
        return made

    def _made(self, value: Any, kind: Any, lenient: bool) -> Any:
        if isinstance(value, type):
            self.classes[id(value)] = value
            return value
        if is_tensor(value):
            return self._tensor(value, lenient)
        if is_array(value):
            return self._array(value)
        if kind in (types.BuiltinFunctionType, types.MethodWrapperType):
            return self._built_in_method(value, lenient)
        why_not = only_once(kind)
        if why_not:
            raise NoCopyError(why_not)
        if isinstance(value, (enum.Enum, re.Pattern)) or is_logger(value):
            return value
        if isinstance(value, weakref.ref):
            self._share(value())
            return value
        for base, copied in _CONTAINERS.items():
            if isinstance(value, base):
                return copied(self, value, kind, lenient)
        if kind is types.MethodType:
            self._copied(value.__func__, lenient)
            return types.MethodType(value.__func__, self._copied(value.__self__, lenient))
        if kind is functools.partial:
            arguments = [self._copied(each, lenient) for each in value.args]
            called = self._copied(value.func, lenient)
            return functools.partial(called, *arguments, **self._copied(value.keywords, lenient))
        if id(value) in self._known or (lenient and kind.__name__.endswith("Config")):
            # One configuration is shared by a whole program, and leads to all of it.
            return self._share(value)
        return self._object(value, kind, lenient)

    def _share(self, value: Any) -> Any:
        """Have both runs use an object: it is watched, and so is what its attributes hold."""
        if type(value) not in ATOMS and attributes_of(value):
            self.shared[id(value)] = value
        return value

    def _built_in_method(self, value: Any, lenient: bool) -> Any:
        """A method of a list, say, that is passed on: in the copies it is that of the copy."""
        holder = value.__self__
        if holder is None or isinstance(holder, (types.ModuleType, type)):
            return value
        copied = self._copied(holder, lenient)
        return value if copied is holder else getattr(copied, value.__name__)

    def _tensor(self, value: Any, lenient: bool) -> Any:
        if lenient and _is_shared(value):
            self.shared[id(value)] = value
            return value
        if id(value) in self._lost:
            raise NoCopyError("tensors or arrays that share memory under several types")
        shared = self._memory.get(id(value))
        if shared is None:
            self._take(_bytes(value))
            made = value.detach().clone()
        else:
            made = shared.view(value, self._row_of(shared))
        self.pairs.append((value, made))
        return made

    def _row_of(self, shared: common_memory.Shared) -> Any:
        key = id(shared.example)
        if key not in self._rows:
            self._take(shared.bytes)
            self._rows[key] = shared.clone()
        return self._rows[key]

    def _array(self, value: Any) -> Any:
        if getattr(value.dtype, "hasobject", False):
            raise NoCopyError("an array of objects")
        if id(value) in self._lost:
            raise NoCopyError("arrays that share memory")
        self._take(int(value.nbytes))
        made = value.copy()
        self.pairs.append((value, made))
        return made

    def _take(self, size: int) -> None:
        if not self._room.take(size):
            raise NoCopyError("no room for copies")
        self._taken += size

    def _list(self, value: Any, kind: Any, lenient: bool) -> Any:
        made = self._begun(value, list.__new__(kind))
        list.extend(made, [self._copied(each, lenient) for each in list.__iter__(value)])
        return self._with_attributes(value, made, lenient)

    def _dict(self, value: Any, kind: Any, lenient: bool) -> Any:
        base = built_in_base(kind)
        made = self._begun(value, base.__new__(kind))
        if isinstance(value, defaultdict):
            made.default_factory = value.default_factory
        put = OrderedDict.__setitem__ if isinstance(value, OrderedDict) else dict.__setitem__
        for key, each in dict.items(value):
            put(made, self._as_key(key, lenient), self._copied(each, lenient))
        return self._with_attributes(value, made, lenient)

    def _as_key(self, key: Any, lenient: bool) -> Any:
        """What finds an entry, or is a member of a set: both runs use it, because a copy would not be equal to it."""
        kind = type(key)
        if kind is tuple:
            for each in key:
                self._as_key(each, lenient)
        elif kind not in ATOMS and not isinstance(key, (type, enum.Enum)):
            if only_once(kind):
                raise NoCopyError(only_once(kind))
            self._share(key)
        return key

    def _set(self, value: Any, kind: Any, lenient: bool) -> Any:
        made = self._begun(value, set.__new__(kind))
        set.update(made, [self._as_key(each, lenient) for each in set.__iter__(value)])
        return self._with_attributes(value, made, lenient)

    def _frozen(self, value: Any, kind: Any, lenient: bool) -> Any:
        for each in frozenset.__iter__(value):
            self._as_key(each, lenient)
        return value

    def _deque(self, value: Any, kind: Any, lenient: bool) -> Any:
        made = deque.__new__(kind)
        deque.__init__(made, maxlen=value.maxlen)
        self._begun(value, made)
        deque.extend(made, [self._copied(each, lenient) for each in deque.__iter__(value)])
        return self._with_attributes(value, made, lenient)

    def _buffer(self, value: Any, kind: Any, lenient: bool) -> Any:
        base = built_in_base(kind)
        made = base.__new__(kind, *([value.typecode] if base is array.array else []))
        base.extend(made, base.__getitem__(value, slice(None)))
        return self._with_attributes(value, self._begun(value, made), lenient)

    def _tuple(self, value: Any, kind: Any, lenient: bool) -> Any:
        parts = [self._copied(each, lenient) for each in tuple.__iter__(value)]
        if all(part is each for part, each in zip(parts, tuple.__iter__(value), strict=True)):
            return value
        try:
            made = tuple.__new__(kind, parts)
        except TypeError:  # one that is made in C, such as what torch.max answers with
            made = kind(parts)
        return self._with_attributes(value, made, lenient)

    def _object(self, value: Any, kind: Any, lenient: bool) -> Any:
        attributes = attributes_of(value)
        if kind is object:
            return value
        made = None
        if attributes is not None:
            try:
                made = object.__new__(kind) if kind is not types.SimpleNamespace else types.SimpleNamespace()
            except TypeError:  # built in, so there is more to it than its attributes
                made = None
        if made is None:
            if not is_known(kind):
                what = "an exception" if issubclass(kind, BaseException) else f"a {kind.__qualname__}"
                raise NoCopyError(f"{what}, which has no copy")
            return self._share(value)
        self.classes[id(kind)] = kind
        made = self._begun(value, made)
        set_attributes(made, {name: self._copied(each, lenient) for name, each in (attributes or {}).items()})
        return made

    def _with_attributes(self, value: Any, made: Any, lenient: bool) -> Any:
        attributes = attributes_of(value)
        if attributes:
            set_attributes(made, {name: self._copied(each, lenient) for name, each in attributes.items()})
        return made

    def _begun(self, value: Any, made: Any) -> Any:
        """Note a copy before what is in it, which may lead back to it."""
        self._done[id(value)] = value, made
        self.pairs.append((value, made))
        return made


_Copied = Callable[[Copies, Any, Any, bool], Any]
_CONTAINERS: dict[type, _Copied] = {
    list: Copies._list,
    dict: Copies._dict,
    tuple: Copies._tuple,
    set: Copies._set,
    frozenset: Copies._frozen,
    deque: Copies._deque,
    bytearray: Copies._buffer,
    array.array: Copies._buffer,
}


def _is_shared(leaf: Any) -> bool:
    """Whether a tensor that an object holds is used by both runs: weights and caches are too large to be copied."""
    return is_tensor(leaf) and (_bytes(leaf) > SHARED_FROM or type(leaf).__name__ == "Parameter")


def size_of(value: object) -> int:
    """The memory of the tensors and arrays in a value."""
    return sum(_bytes(leaf) for leaf in common_memory.leaves(value, MOST_OBJECTS))


def _bytes(leaf: Any) -> int:
    return int(leaf.numel() * leaf.element_size()) if is_tensor(leaf) else int(leaf.nbytes)
