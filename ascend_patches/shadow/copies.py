"""Copies of all that a call can reach, so that two runs of it do not see each other's changes.

What has no copy is recognised before anything is run: an iterator that is read twice, a file that is written twice, a
lock that is taken twice. Imports no torch: tensors are known by what they can do.
"""

from __future__ import annotations

import array
import enum
import functools
import re
import types
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from threading import Lock, local
from typing import Any

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
        self._lock = Lock()

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

    def __init__(self, room: Room) -> None:
        self.pairs: list[tuple[Any, Any]] = []
        self.shared: dict[int, Any] = {}
        """Tensors and configurations that both runs use; they are watched, by identity."""
        self.classes: dict[int, type] = {}
        """Classes of what was copied, and classes among the arguments."""
        self._room = room
        self._taken = 0
        self._done: dict[int, tuple[Any, Any]] = {}
        """By identity, with the object itself, so that no other one can have that identity meanwhile."""
        self._storages: dict[tuple[int, Any], Any] = {}
        self._depth = 0

    def of_instance(self, instance: Any) -> Any:
        """A copy of what a method is called on: what it holds may be large, or shared by a whole program."""
        return self._copied(instance, lenient=True)

    def of_arguments(self, arguments: Any) -> Any:
        """A copy of arguments; NoCopyError for what cannot be had twice."""
        self._look_for_views(arguments)
        return self._copied(arguments, lenient=False)

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
        if kind in _ATOMS:
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
        why_not = only_once(kind)
        if why_not:
            raise NoCopyError(why_not)
        if isinstance(value, (enum.Enum, re.Pattern, weakref.ref)) or _is_logger(value):
            return value
        for base, copied in _CONTAINERS.items():
            if isinstance(value, base):
                return copied(self, value, kind, lenient)
        if kind is types.MethodType:
            return types.MethodType(value.__func__, self._copied(value.__self__, lenient))
        if kind is functools.partial:
            arguments = [self._copied(each, lenient) for each in value.args]
            return functools.partial(value.func, *arguments, **self._copied(value.keywords, lenient))
        if lenient and kind.__name__.endswith("Config"):
            # One configuration is shared by a whole program, and leads to all of it.
            self.shared[id(value)] = value
            return value
        return self._object(value, kind, lenient)

    def _tensor(self, value: Any, lenient: bool) -> Any:
        size = int(value.numel() * value.element_size())
        if lenient and (size > SHARED_FROM or type(value).__name__ == "Parameter"):
            self.shared[id(value)] = value
            return value
        made = self._view(value)
        if made is None:
            self._take(size)
            made = value.detach().clone()
        self.pairs.append((value, made))
        return made

    def _look_for_views(self, arguments: Any) -> None:
        """Find tensors that share memory: a change of the one is a change of the other, in the copies too."""
        by_storage: dict[tuple[int, Any], list[Any]] = {}
        for leaf in _leaves(arguments, set()):
            if is_tensor(leaf) and (key := _storage(leaf)) is not None:
                by_storage.setdefault(key, []).append(leaf)
        for key, tensors in by_storage.items():
            elements = _elements_of_storage(tensors[0])
            if len(tensors) > 1 and elements and elements <= 2 * sum(each.numel() for each in tensors):
                self._storages[key] = None

    def _view(self, value: Any) -> Any:
        key = _storage(value) if self._storages else None
        if key not in self._storages:
            return None
        if self._storages[key] is None:
            elements = _elements_of_storage(value)
            self._take(elements * value.element_size())
            self._storages[key] = value.detach().as_strided((elements,), (1,), 0).clone()
        return self._storages[key].as_strided(value.shape, value.stride(), value.storage_offset())

    def _array(self, value: Any) -> Any:
        if getattr(value.dtype, "hasobject", False):
            raise NoCopyError("an array of objects")
        self._take(int(value.nbytes))
        made = value.copy()
        self.pairs.append((value, made))
        return made

    def _take(self, size: int) -> None:
        if not self._room.take(size):
            raise NoCopyError("no room for copies")
        self._taken += size

    def _list(self, value: Any, kind: Any, lenient: bool) -> Any:
        made = self._begun(value, kind.__new__(kind))
        list.extend(made, [self._copied(each, lenient) for each in list.__iter__(value)])
        return self._with_attributes(value, made, lenient)

    def _dict(self, value: Any, kind: Any, lenient: bool) -> Any:
        made = self._begun(value, kind.__new__(kind))
        if isinstance(value, defaultdict):
            made.default_factory = value.default_factory
        put = OrderedDict.__setitem__ if isinstance(value, OrderedDict) else dict.__setitem__
        for key, each in dict.items(value):
            put(made, self._copied(key, lenient) if type(key) is tuple else key, self._copied(each, lenient))
        return self._with_attributes(value, made, lenient)

    def _set(self, value: Any, kind: Any, lenient: bool) -> Any:
        made = self._begun(value, kind.__new__(kind))
        set.update(made, value)
        return self._with_attributes(value, made, lenient)

    def _deque(self, value: Any, kind: Any, lenient: bool) -> Any:
        made = self._begun(value, deque(maxlen=value.maxlen))
        made.extend(self._copied(each, lenient) for each in value)
        return made

    def _buffer(self, value: Any, kind: Any, lenient: bool) -> Any:
        made = value[:]
        self.pairs.append((value, made))
        return made

    def _tuple(self, value: Any, kind: Any, lenient: bool) -> Any:
        parts = [self._copied(each, lenient) for each in value]
        if all(part is each for part, each in zip(parts, value, strict=True)):
            return value
        return kind(*parts) if hasattr(kind, "_fields") else kind(parts)

    def _object(self, value: Any, kind: Any, lenient: bool) -> Any:
        attributes = attributes_of(value)
        if attributes is None or kind is object:
            if kind is not object and not lenient and not _is_known(kind):
                raise NoCopyError(f"a {kind.__qualname__}, which has no copy")
            return value
        try:
            made = object.__new__(kind) if kind is not types.SimpleNamespace else types.SimpleNamespace()
        except TypeError:  # built in, so there is more to it than its attributes
            if not lenient and not _is_known(kind):
                raise NoCopyError(f"a {kind.__qualname__}, which has no copy") from None
            return value
        self.classes[id(kind)] = kind
        made = self._begun(value, made)
        set_attributes(made, {name: self._copied(each, lenient) for name, each in attributes.items()})
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
    frozenset: lambda copies, value, kind, lenient: value,
    deque: Copies._deque,
    bytearray: Copies._buffer,
    array.array: Copies._buffer,
}

_ATOMS: frozenset[type] = frozenset(
    {
        *(type(None), bool, int, float, complex, str, bytes, range, slice, type(...), type(NotImplemented)),
        *(types.FunctionType, types.BuiltinFunctionType, types.ModuleType, types.CodeType, types.MethodWrapperType),
        *(types.WrapperDescriptorType, types.MethodDescriptorType, types.MappingProxyType, types.GetSetDescriptorType),
        *(property, classmethod, staticmethod, functools._lru_cache_wrapper, type(functools.reduce)),
    }
)


def only_once(kind: type) -> str:
    """Why an object of this kind cannot be used twice as if the first time had not been; empty if it can."""
    if hasattr(kind, "__next__") or hasattr(kind, "__anext__"):
        return "an iterator"
    if hasattr(kind, "__await__") or kind in (types.CoroutineType, types.AsyncGeneratorType):
        return "a coroutine or a future"
    if hasattr(kind, "fileno") or (hasattr(kind, "readinto") and hasattr(kind, "close")):
        return "a file or a socket"
    if hasattr(kind, "acquire") and hasattr(kind, "release"):
        return "a lock"
    if hasattr(kind, "bit_generator") or hasattr(kind, "getrandbits") or hasattr(kind, "initial_seed"):
        return "a generator of random numbers"
    if kind is memoryview or issubclass(kind, (local, type({}.keys()), type({}.values()), type({}.items()))):
        return "a view of what belongs to others"
    if hasattr(kind, "__del__"):
        return "an object that does something when it goes"
    return ""


def attributes_of(value: Any) -> dict[str, Any] | None:
    """The attributes that an object holds itself, in its dictionary and in slots; None where it can hold none."""
    try:
        found = object.__getattribute__(value, "__dict__")
    except AttributeError:
        found = None
    slots = _slots(_kind(value))
    if type(found) is not dict and not slots:
        return None
    attributes = dict(found) if type(found) is dict else {}
    for name, slot in slots.items():
        try:
            attributes[name] = slot.__get__(value)
        except AttributeError:  # not set
            continue
    return attributes


def set_attributes(value: Any, attributes: dict[str, Any]) -> None:
    """Give an object these attributes and no others, past what its class does when one is set."""
    slots = _slots(_kind(value))
    for name, slot in slots.items():
        if name in attributes:
            slot.__set__(value, attributes[name])
        else:
            try:
                slot.__delete__(value)
            except AttributeError:  # not set
                continue
    held = {name: each for name, each in attributes.items() if name not in slots}
    try:
        own = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return
    for name in [name for name in own if name not in held]:
        del own[name]
    own.update(held)


def _kind(value: Any) -> Any:
    return type(value)


@functools.lru_cache(maxsize=4096)
def _slots(kind: Any) -> dict[str, Any]:
    """The slots of a class written in Python, under names that say where each belongs."""
    return {
        f"{base.__qualname__}.{name}" if name.startswith("__") else name: slot
        for base in kind.__mro__
        if base.__dict__.get("__slots__")
        for name, slot in base.__dict__.items()
        if type(slot) is types.MemberDescriptorType
    }


def _is_known(kind: type) -> bool:
    """Whether objects of a built-in kind may be used by both runs: devices, types and streams of torch, exceptions."""
    return kind.__module__.partition(".")[0] in ("torch", "torch_npu", "datetime", "decimal", "fractions", "uuid") or (
        issubclass(kind, (BaseException, int, float, str, bytes, complex))
    )


def _is_logger(value: Any) -> bool:
    return type(value).__module__ == "logging" or any(base.__module__ == "logging" for base in type(value).__mro__)


def _storage(tensor: Any) -> tuple[int, Any] | None:
    try:
        return tensor.untyped_storage().data_ptr(), tensor.dtype
    except Exception:  # a tensor without memory of its own
        return None


def _elements_of_storage(tensor: Any) -> int:
    try:
        return int(tensor.untyped_storage().nbytes()) // int(tensor.element_size())
    except Exception:
        return 0


def size_of(value: object) -> int:
    """The memory of the tensors and arrays in a value."""
    return sum(_bytes(leaf) for leaf in _leaves(value, set()))


def _leaves(value: Any, seen: set[int]) -> Iterator[Any]:
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, dict):
        parts = list(value.values())
    elif isinstance(value, (list, tuple)):
        parts = list(value)
    elif hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        parts = list((attributes_of(value) or {}).values())
    else:
        yield value
        return
    for part in parts:
        yield from _leaves(part, seen)


def _bytes(leaf: Any) -> int:
    if is_tensor(leaf):
        return int(leaf.numel() * leaf.element_size())
    return int(leaf.nbytes) if is_array(leaf) else 0


def is_tensor(value: object) -> bool:
    return hasattr(value, "element_size") and hasattr(value, "clone") and not isinstance(value, type)


def is_array(value: object) -> bool:
    return hasattr(value, "nbytes") and hasattr(value, "dtype") and hasattr(value, "copy")
