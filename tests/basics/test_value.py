"""A value behaves as a NamedTuple does, in all that the toolkit does with one."""

from __future__ import annotations

import copy
import json
import pickle
from typing import NamedTuple

import pytest

from ascend_patches.basics.value import Value


class Ours(Value):
    """Where something is."""

    place: str
    number: int = 3

    @property
    def both(self) -> str:
        return f"{self.place}{self.number}"


class Theirs(NamedTuple):
    place: str
    number: int = 3


@pytest.mark.parametrize("given", [("a",), ("a", 4)])
def test_holds_what_a_named_tuple_holds(given: tuple[str, int]) -> None:
    ours, theirs = Ours(*given), Theirs(*given)
    assert tuple(ours) == tuple(theirs)
    assert (ours.place, ours.number) == (theirs.place, theirs.number)
    assert hash(ours) == hash(theirs)
    assert repr(ours) == repr(theirs).replace("Theirs", "Ours")
    assert json.dumps(ours) == json.dumps(theirs)


def test_takes_its_fields_by_name_in_any_order() -> None:
    assert Ours(number=5, place="b") == ("b", 5)


def test_has_methods_of_its_own() -> None:
    assert Ours("a").both == "a3"


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_is_copied_whole(how: object) -> None:
    assert callable(how)
    copied = how(Ours("a", 4))
    assert copied == Ours("a", 4)
    assert type(copied) is Ours


def test_replaces_a_field_in_another_value() -> None:
    assert Ours("a")._replace(number=9) == Ours("a", 9)


def test_never_changes() -> None:
    with pytest.raises(AttributeError):
        Ours("a").place = "b"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("given", "named", "says"),
    [
        ((), {}, "Ours needs 'place'"),
        (("a", 1, 2), {}, "Ours has the fields place, number, and was given 3 values"),
        (("a",), {"size": 1}, "Ours has the fields place, number, and was given size"),
        (("a",), {"place": "b"}, "Ours has the fields place, number, and was given place"),
    ],
)
def test_refuses_what_does_not_fit(given: tuple[object, ...], named: dict[str, object], says: str) -> None:
    make: type = Ours
    with pytest.raises(TypeError, match=says):
        make(*given, **named)
