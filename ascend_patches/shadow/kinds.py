"""Kinds of objects, as a compared call sees them: what can be used twice, what has no copy, what an object holds.

Imports no torch: tensors are known by what they can do.
"""

from __future__ import annotations

import array
import functools
import types
import weakref
from collections import OrderedDict, defaultdict, deque
from threading import local
from typing import Any

ATOMS: frozenset[type] = frozenset(
    {
        *(type(None), bool, int, float, complex, str, bytes, range, slice, type(...), type(NotImplemented)),
        *(types.FunctionType, types.ModuleType, types.CodeType, types.GenericAlias, types.UnionType),
        *(types.WrapperDescriptorType, types.MethodDescriptorType, types.MappingProxyType, types.GetSetDescriptorType),
        *(property, classmethod, staticmethod, functools._lru_cache_wrapper),
    }
)
"""What no call changes, or what is looked at as what a function reaches."""

LOCK = "a lock"
FINALIZER = "an object that does something when it goes"
VIEW = "a view of what belongs to others"


def only_once(kind: type) -> str:
    """Why an object of this kind cannot be used twice as if the first time had not been; empty if it can."""
    if hasattr(kind, "__next__") or hasattr(kind, "__anext__"):
        return "an iterator"
    if hasattr(kind, "__await__") or kind in (types.CoroutineType, types.AsyncGeneratorType):
        return "a coroutine or a future"
    if hasattr(kind, "fileno") or (hasattr(kind, "readinto") and hasattr(kind, "close")):
        return "a file or a socket"
    if hasattr(kind, "acquire") and hasattr(kind, "release"):
        return LOCK
    if any(hasattr(kind, name) for name in ("bit_generator", "_bit_generator", "getrandbits", "initial_seed")):
        return "a generator of random numbers"
    if kind is memoryview or issubclass(kind, _VIEWS):
        return VIEW
    if hasattr(kind, "__del__"):
        return FINALIZER
    return ""


_VIEWS: tuple[Any, ...] = (local, type({}.keys()), type({}.values()), type({}.items()), *weakref.ProxyTypes)


def is_known(kind: type) -> bool:
    """Whether objects of a built-in kind may be used by both runs: devices, types and streams of torch, say."""
    root = kind.__module__.partition(".")[0]
    if root in ("torch", "torch_npu", "datetime", "fractions", "uuid", "operator", "_operator", "re", "_struct"):
        return True
    if root in ("decimal", "_contextvars", "numpy"):
        return kind.__name__ in ("Decimal", "ContextVar", "ufunc") or any(
            base.__name__ == "dtype" for base in kind.__mro__
        )
    return issubclass(kind, (int, float, str, bytes, complex))


def is_logger(value: Any) -> bool:
    return type(value).__module__ == "logging" or any(base.__module__ == "logging" for base in type(value).__mro__)


def is_tensor(value: object) -> bool:
    kind = type(value)  # an object that is asked for an attribute may do something
    return hasattr(kind, "element_size") and hasattr(kind, "clone")


def is_array(value: object) -> bool:
    kind = type(value)
    return hasattr(kind, "nbytes") and hasattr(kind, "dtype") and hasattr(kind, "__array_interface__")


CONTENT = (OrderedDict, defaultdict, dict, list, set, deque, bytearray, array.array)
"""What has content that a call can change, and methods of its own to do so."""


_ENTRIES = (*CONTENT, tuple, frozenset)


def built_in_base(kind: Any) -> Any:
    """The class of content that a class is made on, whose methods no subclass has changed."""
    return next(base for base in kind.__mro__ if base in _ENTRIES)


def entries_of(value: Any) -> list[Any]:
    """What is in a list, a tuple, a set and the like; of a dictionary its values. No method of a subclass is asked."""
    base = built_in_base(type(value))
    return list(dict.values(value) if issubclass(base, dict) else base.__iter__(value))


def count_of(value: Any) -> int:
    """How many entries that are, asked in the same way."""
    return int(built_in_base(type(value)).__len__(value))


def attributes_of(value: Any) -> dict[str, Any] | None:
    """The attributes that an object holds itself, in its dictionary and in slots; None where it can hold none."""
    try:
        # A thread's own storage has a dictionary for each thread.
        found = (local if isinstance(value, local) else object).__getattribute__(value, "__dict__")
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
