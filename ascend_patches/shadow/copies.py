"""Copies of what a function is called with, so that two runs of it do not see each other's changes.

Imports no torch: tensors are known by what they can do.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from threading import Lock
from typing import Any

MOST_BYTES = 512 * 1024**2
"""What all copies of a process may take together; a call that needs more is not compared."""


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


def size_of(value: object) -> int:
    """The memory that copies of a value take: that of its tensors and arrays."""
    return sum(_bytes(leaf) for leaf in _leaves(value, set()))


def copied(value: Any, done: dict[int, Any]) -> Any:
    """A copy of the tensors, arrays and containers in a value; what else there is, is the same object.

    ``done`` holds the copies made so far: what was one object in two places stays one.
    """
    if id(value) in done:
        return done[id(value)]
    if is_tensor(value):
        made = value.detach().clone()
    elif _is_array(value):
        made = value.copy()
    elif isinstance(value, list):
        made = done[id(value)] = copy.copy(value)
        made[:] = [copied(each, done) for each in value]
    elif isinstance(value, dict):
        made = done[id(value)] = copy.copy(value)
        for key, each in value.items():
            made[key] = copied(each, done)
    elif isinstance(value, tuple):
        made = _tuple_of([copied(each, done) for each in value], value)
    elif _is_record(value):
        made = done[id(value)] = copy.copy(value)
        for name, each in _fields(value):
            object.__setattr__(made, name, copied(each, done))
    else:
        made = value
    done[id(value)] = made
    return made


def stand_in(instance: Any) -> Any:
    """An object with the attributes of another: what is assigned to the one is not seen by the other.

    The object itself where that is not to be had.
    """
    kind = type(instance)
    attributes = getattr(instance, "__dict__", None)
    slots = any(base.__dict__.get("__slots__") for base in kind.__mro__)
    if type(attributes) is not dict or slots or hasattr(kind, "__del__") or is_tensor(instance):
        return instance
    try:
        made = object.__new__(kind)
    except TypeError:  # built in, so there is more to it than its attributes
        return instance
    # torch keeps a module's parameters, buffers and modules in dictionaries of their own.
    held = {key: dict(value) for key, value in attributes.items() if key in _OF_MODULES and type(value) is dict}
    made.__dict__.update({**attributes, **held})
    return made


_OF_MODULES = ("_parameters", "_buffers", "_modules")


def _tuple_of(parts: list[Any], like: tuple[Any, ...]) -> Any:
    if all(part is each for part, each in zip(parts, like, strict=True)):
        return like
    return type(like)(*parts) if hasattr(like, "_fields") else type(like)(parts)


def _leaves(value: Any, seen: set[int]) -> Iterator[Any]:
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, dict):
        parts = list(value.values())
    elif isinstance(value, (list, tuple)):
        parts = list(value)
    elif _is_record(value):
        parts = [each for _, each in _fields(value)]
    else:
        yield value
        return
    for part in parts:
        yield from _leaves(part, seen)


def _bytes(leaf: Any) -> int:
    if is_tensor(leaf):
        return int(leaf.numel() * leaf.element_size())
    return int(leaf.nbytes) if _is_array(leaf) else 0


def is_tensor(value: object) -> bool:
    return hasattr(value, "element_size") and hasattr(value, "clone") and not isinstance(value, type)


def _is_array(value: object) -> bool:
    return hasattr(value, "nbytes") and hasattr(value, "dtype") and hasattr(value, "copy")


def _is_record(value: object) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _fields(record: Any) -> list[tuple[str, Any]]:
    return [
        (field.name, getattr(record, field.name)) for field in dataclasses.fields(record) if hasattr(record, field.name)
    ]
