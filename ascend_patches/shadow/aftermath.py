"""What two runs of a call left behind, side by side: differences in words, and the wrong one put right."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, MethodWrapperType, ModuleType
from typing import Any

from ascend_patches.shadow.copies import MOST_OBJECTS, ROOM, Copies
from ascend_patches.shadow.kinds import (
    CONTENT,
    attributes_of,
    built_in_base,
    entries_of,
    is_array,
    is_tensor,
    only_once,
    set_attributes,
)

_CONTENT = (list, dict, tuple, set, frozenset, deque, bytearray, array)

Difference = Callable[[Any, Any], str | None]
"""What is different between an original and a patched value that have no parts, in words."""


def difference(expected: Any, found: Any, leaf: Difference) -> str | None:
    """The first difference between what the original left and what the replacement left, with its place."""
    return next(_differences(expected, found, "", leaf, set()), None)


def _differences(expected: Any, found: Any, where: str, leaf: Difference, seen: set[tuple[int, int]]) -> Iterator[str]:
    if expected is found or (id(expected), id(found)) in seen:
        return
    seen.add((id(expected), id(found)))
    ours, theirs = _parts(found), _parts(expected)
    if type(expected) is not type(found) or ours is None or theirs is None:
        what = "" if _are_no_numbers(expected, found) else leaf(expected, found)
        if what:
            yield _at(where, what)
        return
    if _says_what_it_equals(expected) and not isinstance(expected, _CONTENT):
        within = next(_of_parts(expected, found, ours, theirs, where, leaf, set(seen)), None)
        if within is None or _are_equal(expected, found):
            return
    yield from _of_parts(expected, found, ours, theirs, where, leaf, seen)


def _of_parts(
    expected: Any,
    found: Any,
    ours: Mapping[str, Any],
    theirs: Mapping[str, Any],
    where: str,
    leaf: Difference,
    seen: set[tuple[int, int]],
) -> Iterator[str]:
    if isinstance(expected, (list, tuple, deque, set, frozenset)) and len(ours) != len(theirs):
        yield _at(where, f"{len(ours)} entries instead of {len(theirs)}")
    for name, value in theirs.items():
        place = f"{where}{name}"
        if name not in ours:
            yield _at(place, "is missing")
        else:
            yield from _differences(value, ours[name], place, leaf, seen)
    for name in ours:
        # What begins with an underscore and upstream does not know is the patch's own, such as a plan that it keeps.
        if name not in theirs and not name.startswith("._"):
            yield _at(f"{where}{name}", "is more than the original leaves")


def _says_what_it_equals(value: Any) -> bool:
    equals: Any = type(value).__eq__
    return equals is not object.__eq__ and not _is_record(value)


def _are_equal(one: Any, other: Any) -> bool:
    """Whether two objects say that they are equal. Copies of them are asked: a cache, for one, counts who reads it."""
    copies = Copies(ROOM)
    try:
        _, ((one, other), _) = copies.of_call((), ((one, other), {}))
        return bool(one == other)
    except Exception:  # then its parts are what counts
        return False
    finally:
        copies.give_back()


def _are_no_numbers(one: Any, other: Any) -> bool:
    return type(one) is type(other) is float and one != one and other != other


def _at(where: str, what: str) -> str:
    return f"{where}: {what}" if where else what


def _parts(value: Any) -> Mapping[str, Any] | None:
    """What a value is made of, by place; None where it is compared as a whole."""
    if is_tensor(value) or is_array(value) or isinstance(value, type):
        return None
    if isinstance(value, dict):
        # Keys that say nothing about their value, such as objects, are told apart by their order.
        found = {f"[{_key(key, index)}]": each for index, (key, each) in enumerate(dict.items(value))}
    elif isinstance(value, (list, tuple, deque)):
        found = {f"[{index}]": each for index, each in enumerate(entries_of(value))}
    elif isinstance(value, (set, frozenset)):
        found = {f"{{{_key(each, index)}}}": None for index, each in enumerate(entries_of(value))}
    elif isinstance(value, (bytearray, array)):
        base = built_in_base(type(value))
        found = {"": bytes(base.__getitem__(value, slice(None)))}
    elif isinstance(value, MethodType):
        return {".__func__": value.__func__, ".__self__": value.__self__}
    else:
        attributes = attributes_of(value)
        if attributes is None or (not attributes and _says_what_it_equals(value)):
            return None
        return {f".{name}": each for name, each in attributes.items()}
    found.update({f".{name}": each for name, each in (attributes_of(value) or {}).items()})
    return found


def _key(key: Any, index: int) -> str:
    return repr(key)[:80] if _is_plain(key) else f"entry {index}"


def _is_plain(key: Any) -> bool:
    return all(map(_is_plain, key)) if type(key) is tuple else type(key) in (str, int, float, bytes, bool, type(None))


def _is_record(value: Any) -> bool:
    return hasattr(type(value), "__dataclass_fields__")


def is_scratch(argument: Any) -> bool:
    """Whether an argument has content rather than attributes."""
    return isinstance(argument, _CONTENT) or is_tensor(argument) or is_array(argument)


def yet_to_run(value: Any) -> str:
    """Whether an answer holds what has yet to run, and of which no second one may be made; empty if it holds none."""
    level = [value]
    for _ in range(4):
        below: list[Any] = []
        for each in level:
            why = only_once(type(each)) if not is_tensor(each) and not isinstance(each, type) else ""
            if why:
                return f"answers with {why}"
            if isinstance(each, (list, tuple, dict)):
                below += entries_of(each)[:1000]
        level = below
    return ""


def put_right(copies: Copies) -> None:
    """Leave with the caller what the original left with its copies; the first error is raised when all else is done."""
    done: set[int] = set()
    failed: Exception | None = None
    for real, made in copies.pairs:
        try:
            if is_tensor(real):
                _put_tensor(real, made)
            elif is_array(real):
                _put_array(real, made)
            else:
                _put_object(real, made, copies, done)
        except Exception as error:
            failed = failed or error
    if failed is not None:
        raise failed


def _put_tensor(real: Any, made: Any) -> None:
    if real.shape != made.shape:
        real.data = made.detach().clone()
    elif not bool((real.detach() == made).all()):
        # Not in place of what takes gradients: what it is in is a leaf of no graph here.
        real.detach().copy_(made)


def _put_array(real: Any, made: Any) -> None:
    if real.shape != made.shape:
        real.resize(made.shape, refcheck=False)
    if real.tobytes() != made.tobytes():
        real[...] = made


def _put_object(real: Any, made: Any, copies: Copies, done: set[int]) -> None:
    base = built_in_base(type(real)) if isinstance(real, CONTENT) else None
    if base is not None and issubclass(base, dict):
        entries = [(real_of(key, copies, done), real_of(each, copies, done)) for key, each in dict.items(made)]
        base.clear(real)
        base.update(real, entries)
    elif base in (list, deque, set):
        content = [real_of(each, copies, done) for each in base.__iter__(made)]
        base.clear(real)
        set.update(real, content) if base is set else base.extend(real, content)
    elif base is not None and not base.__eq__(real, made):  # bytes, an array of numbers
        base.__setitem__(real, slice(None), made)
    if type(real) is not type(made):
        object.__setattr__(real, "__class__", type(made))
    attributes = attributes_of(made)
    if attributes is not None:
        before = attributes_of(real) or {}
        own = {name: each for name, each in before.items() if name not in attributes and name.startswith("_")}
        set_attributes(real, {**own, **{name: real_of(each, copies, done) for name, each in attributes.items()}})


def real_of(value: Any, copies: Copies, done: set[int]) -> Any:
    """A value that the original made, with the caller's own objects in place of their copies."""
    real = copies.original_of(value)
    if real is not value or id(value) in done or id(value) in copies.shared or len(done) > MOST_OBJECTS:
        return real
    if is_tensor(value) or is_array(value) or isinstance(value, type):
        return value
    if isinstance(value, (tuple, frozenset)):
        entries = entries_of(value)
        parts = [real_of(each, copies, done) for each in entries]
        if all(one is other for one, other in zip(parts, entries, strict=True)):
            return value
        made: Any = tuple if isinstance(value, tuple) else frozenset
        return made.__new__(type(value), parts)
    if type(value) is MethodType:
        holder = real_of(value.__self__, copies, done)
        return value if holder is value.__self__ else MethodType(value.__func__, holder)
    if type(value) in (BuiltinFunctionType, MethodWrapperType):
        holder = copies.original_of(value.__self__)
        return value if holder is value.__self__ else getattr(holder, value.__name__)
    if isinstance(value, _PLAIN):
        return value
    done.add(id(value))
    if isinstance(value, CONTENT):
        _lead_content_back(value, copies, done)
    if isinstance(value, BaseException):
        value.args = real_of(value.args, copies, done)
    attributes = attributes_of(value) or {}
    led_back = {name: real_of(each, copies, done) for name, each in attributes.items()}
    if any(led_back[name] is not each for name, each in attributes.items()):
        set_attributes(value, led_back)
    return value


_PLAIN = (str, bytes, int, float, type(None), FunctionType, ModuleType)


def _lead_content_back(value: Any, copies: Copies, done: set[int]) -> None:
    base = built_in_base(type(value))
    if issubclass(base, dict):
        for key, each in list(dict.items(value)):
            if (changed := real_of(each, copies, done)) is not each:
                base.__setitem__(value, key, changed)
    elif base in (list, deque, set):
        entries = list(base.__iter__(value))
        led_back = [real_of(each, copies, done) for each in entries]
        if any(one is not other for one, other in zip(entries, led_back, strict=True)):
            base.clear(value)
            set.update(value, led_back) if base is set else base.extend(value, led_back)
