"""Overrides that contradict each other: some release is in both, and they set a key to different values.

Thousands of overrides are a table that a tool wrote. What can meet is found with a set of overrides as the bits of one
number: which of them begin before a place, and which end before it. Only what is left is compared in full.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from operator import or_

from ascend_patches.basics.value import Value
from ascend_patches.settings.model import Override
from ascend_patches.upstream.versions import Cut, Range

_MOST_COMPARED = 3_000
"""Kinds of overrides compared in full. What is left unseen beyond it is refused where two that disagree apply."""


class Contradiction(Value):
    """Two overrides, the later one first, and the keys about which they disagree."""

    later: Override
    earlier: Override
    disputed: list[str]


def contradictions(overrides: Sequence[Override]) -> Iterator[Contradiction]:
    """For each override that contradicts earlier ones, the first of these."""
    packages = dict.fromkeys(package for override in overrides for package in override.when)
    fields = {package: _Field(overrides, package) for package in packages}
    values, alike = _values(overrides), _Alike(overrides)
    for index, later in enumerate(overrides):
        candidates = _rivals(index, later, values) & _neighbours(later, fields)
        while candidates:
            place = (candidates & -candidates).bit_length() - 1
            if alike.meet(index, place):
                yield Contradiction(later, overrides[place], _disputed(later, overrides[place]))
                break
            candidates &= ~alike.to(place)


class _Alike:
    """Overrides of the same releases, which meet the same others; each two kinds are compared once."""

    def __init__(self, overrides: Sequence[Override]) -> None:
        kinds: dict[tuple[tuple[str, str], ...], int] = {}
        self._overrides = overrides
        self._kinds = [
            kinds.setdefault(tuple(sorted((name, range_.text) for name, range_ in override.when.items())), len(kinds))
            for override in overrides
        ]
        self._members = [0] * len(kinds)
        for index, kind in enumerate(self._kinds):
            self._members[kind] |= 1 << index
        self._met: dict[tuple[int, int], bool] = {}

    def to(self, place: int) -> int:
        return self._members[self._kinds[place]]

    def meet(self, one: int, other: int) -> bool:
        """Whether some release is in both, of every package that both speak of."""
        pair = self._kinds[one], self._kinds[other]
        if pair not in self._met:
            if len(self._met) >= _MOST_COMPARED:
                return False
            ours, theirs = self._overrides[one].when, self._overrides[other].when
            self._met[pair] = all(ours[package].meets(theirs[package]) for package in ours.keys() & theirs.keys())
        return self._met[pair]


def _disputed(one: Override, other: Override) -> list[str]:
    return sorted(key for key in one.values.keys() & other.values.keys() if one.values[key] != other.values[key])


class _Field:
    """What the overrides say of one package, from the least version to the greatest."""

    def __init__(self, overrides: Sequence[Override], package: str) -> None:
        spans = [
            (index, *override.when[package].hull())
            for index, override in enumerate(overrides)
            if package in override.when
        ]
        self.speaks = _union(1 << index for index, _, _ in spans)
        self._starts, self._begun = _gathered([(start, index) for index, start, _ in spans])
        self._ends, self._over = _gathered([(end, index) for index, _, end in spans])

    def meets(self, range_: Range) -> int:
        """The overrides that may speak of a release in this range."""
        start, end = range_.hull()
        begun = self._begun[bisect_left(self._starts, end)]
        over = self._over[bisect_right(self._ends, start)]
        return begun & ~over


def _gathered(places: list[tuple[Cut, int]]) -> tuple[list[Cut], list[int]]:
    """Places in order, and for each count of them the overrides that are at the first so many."""
    places.sort(key=lambda pair: pair[0])
    return [place for place, _ in places], [0, *accumulate((1 << index for _, index in places), or_)]


def _values(overrides: Sequence[Override]) -> dict[str, tuple[int, dict[object, int]]]:
    """By key: which overrides set it, and which of them set it to each value."""
    found: dict[str, tuple[int, dict[object, int]]] = {}
    for index, override in enumerate(overrides):
        for key, value in override.values.items():
            all_of_them, same = found.get(key, (0, {}))
            same[value] = same.get(value, 0) | 1 << index
            found[key] = all_of_them | 1 << index, same
    return found


def _rivals(index: int, later: Override, values: dict[str, tuple[int, dict[object, int]]]) -> int:
    """The overrides before this one that set one of its keys to another value."""
    rivals = 0
    for key, value in later.values.items():
        all_of_them, same = values[key]
        rivals |= all_of_them & ~same[value]
    return rivals & ((1 << index) - 1)


def _neighbours(later: Override, fields: dict[str, _Field]) -> int:
    """The overrides that share a package with this one, and of each that they share may mean the same release."""
    shared, apart = 0, 0
    for package, range_ in later.when.items():
        field = fields[package]
        shared |= field.speaks
        apart |= field.speaks & ~field.meets(range_)
    return shared & ~apart


def _union(bits: Iterator[int]) -> int:
    number = 0
    for bit in bits:
        number |= bit
    return number
