"""A comparison looks at objects without asking them anything: what counts its readers, such as a cache, counts none."""

from __future__ import annotations

from array import array
from collections import OrderedDict, UserDict, defaultdict, deque
from collections.abc import Callable
from typing import Any

import pytest
from shadow.test_side_effects import Engine, method

ENTRIES = ("__getitem__", "__iter__", "__len__", "__contains__", "__reversed__", "__length_hint__", "__call__")
COMPARED = ("__eq__", "__ne__", "__lt__", "__bool__", "__getattr__", "__dir__", "__sizeof__")
COPIED = ("__copy__", "__deepcopy__", "__reduce__", "__repr__", "__str__", "__format__", "copy")
READERS = (*ENTRIES, *COMPARED, *COPIED, "keys", "values", "items", "get", "index")
"""What asks an object something, and may change it."""


def talkative(base: type) -> type:
    """A class on another one of which each object notes what it is asked."""

    def noting(name: str) -> Callable[..., Any]:
        def reader(self: Any, *args: Any) -> Any:
            notes = object.__getattribute__(self, "__dict__").get("notes")
            if notes is not None:
                notes.append(name)
            if name == "__getattr__":
                raise AttributeError(args[0])
            return getattr(base, name)(self, *args) if hasattr(base, name) else NotImplemented

        return reader

    body: dict[str, Any] = {name: noting(name) for name in READERS}
    body["__hash__"] = base.__hash__
    body["dtype"] = body["nbytes"] = property(noting("a property"))
    return type(f"Talkative{base.__name__}", (base,), body)


KINDS: dict[str, Callable[[], Any]] = {
    "object": talkative(object),
    "dict": lambda: talkative(dict)(a=1, b=[2]),
    "ordered dict": lambda: talkative(OrderedDict)(a=1, b=[2]),
    "default dict": lambda: talkative(defaultdict)(list, a=1),
    "user dict": lambda: talkative(UserDict)(a=1, b=[2]),
    "list": lambda: talkative(list)([1, [2]]),
    "tuple": lambda: talkative(tuple)([1, [2]]),
    "set": lambda: talkative(set)([1, 2]),
    "frozen set": lambda: talkative(frozenset)([1, 2]),
    "deque": lambda: talkative(deque)([1, [2]]),
    "byte array": lambda: talkative(bytearray)(b"ab"),
    "array": lambda: talkative(array)("i", [1, 2]),
}


def holding(make: Callable[[], Any]) -> tuple[Engine, list[str]]:
    """An object that holds one, and what that one notes from here on."""
    held = make()
    notes: list[str] = []
    held.__dict__["notes"] = notes
    return Engine(held=held, n=0), notes


def right(self: Any, *args: Any) -> Any:
    self.n += 1


def wrong(self: Any, *args: Any) -> Any:
    self.n += 2


def wrong_within(self: Any, *args: Any) -> Any:
    vars(self.held)["more"] = 1
    self.n += 1


def right_within(self: Any, *args: Any) -> Any:
    vars(self.held)["more"] = 2
    self.n += 1


PAIRS = {"right": (right, right), "wrong": (right, wrong), "wrong within": (right_within, wrong_within)}


@pytest.mark.parametrize("as_argument", [False, True], ids=["held", "held and passed"])
@pytest.mark.parametrize(("original", "ours"), PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_what_is_looked_at_is_asked_nothing(
    make: Callable[[], Any], original: Callable[..., Any], ours: Callable[..., Any], as_argument: bool
) -> None:
    engine, notes = holding(make)
    shadow = method(original, ours)
    shadow.call(engine, *([engine.held] if as_argument else []))
    assert notes == []
    assert engine.n == 1


def answers_with_it(self: Any) -> Any:
    return [self.held, {"held": self.held}]


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_what_is_answered_with_is_asked_nothing(make: Callable[[], Any]) -> None:
    engine, notes = holding(make)
    shadow = method(answers_with_it, answers_with_it)
    assert shadow.call(engine)[0] is engine.held
    assert notes == []


class Buffer(bytearray):
    pass


@pytest.mark.parametrize("make", [lambda: Buffer(b"ab"), lambda: bytearray(b"ab"), lambda: array("i", [97, 98])])
def test_the_content_of_a_buffer_is_compared_and_put_right(make: Callable[[], Any]) -> None:
    def put(number: int) -> Callable[[Any], None]:
        return lambda self: self.held.__setitem__(0, number)

    engine = Engine(held=make())
    shadow = method(put(1), put(2))
    shadow.call(engine)
    assert (engine.held[0], len(shadow.reverted)) == (1, 1)


class Money:
    """What says what it equals, whatever it is made of."""

    def __init__(self, cents: int, said: str) -> None:
        self.cents, self.said = cents, said

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and other.cents == self.cents

    __hash__ = None  # type: ignore[assignment]


def test_what_says_that_it_is_equal_is_equal_whatever_it_is_made_of() -> None:
    shadow = method(lambda self: Money(1, "one"), lambda self: Money(1, "a cent"))
    shadow.call(Engine())
    assert shadow.counts == (1, 0, 0)


def test_what_says_that_it_is_not_equal_is_a_difference() -> None:
    shadow = method(lambda self: Money(1, "one"), lambda self: Money(2, "one"))
    assert shadow.call(Engine()).cents == 1
    assert "cents: 2 instead of 1" in shadow.reverted[0]
