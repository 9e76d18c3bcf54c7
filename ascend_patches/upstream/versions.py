"""Versions of what is installed, and the one policy by which they are compared.

The policy
----------
A gate is about *releases*. ``0.15.0``, its builds (``+cpu``, ``+empty``), its candidates (``rc1``), its development
snapshots (``.dev3+g1234``) and its re-uploads (``.post1``) are all the release 0.15.0, because that is the code they
carry; whether they really do is decided by fingerprints, not by this module. So both sides are compared by their
release numbers alone, ``0.15`` and ``0.15.0`` being the same -

* unless the gate names more: ``0.15.0rc1``, ``0.15.0.post1`` and ``0.15.0.dev3`` are compared as whole versions, but
  for the local label;
* unless the gate names a local label: ``0.15.0+empty`` is met by exactly that.

A development snapshot counts as the release it leads to: ``0.15.1.dev3+g1234`` is 0.15.1, not 0.15.0.
A leading ``v`` is ignored. What is no version at all (``dev``, an empty string, a checkout without metadata) is
*unknown*: no comparison with it is true or false, and a gate says so. What is not installed has no version: every
comparison is false.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from packaging.version import Version

from ascend_patches.basics.value import Value
from ascend_patches.errors import VersionError


def parse(text: str | None) -> Version | None:
    """A version, or None where the text is none."""
    try:
        return Version(text) if text else None
    except ValueError:  # InvalidVersion is one; so is what Python says of a number of ten thousand digits
        return None


Cut = tuple[Any, ...]
"""A place between versions, in their order; cuts are compared with each other."""

_FIRST: Cut = ((-1, ()),)
_LAST: Cut = ((float("inf"), ()),)
_BEFORE_ALL, _AFTER_ALL = (-9,), (9,)
"""Where the builds, candidates and posts of a release begin, and where they end."""


class Clause(Value):
    """One comparison, such as ``>=0.15``."""

    sign: str
    version: Version
    prefix: bool

    def admits(self, installed: Version) -> bool:
        if self.prefix:
            length = len(self.version.release)
            padded = (*installed.release, *(0,) * length)
            same = installed.epoch == self.version.epoch and padded[:length] == self.version.release
            return same if self.sign == "==" else not same
        named = self.version
        compare = _OPERATORS[self.sign]
        if named.local is not None:
            return compare(installed, named)
        if named.is_prerelease or named.is_postrelease:
            return compare(Version(installed.public), named)
        return compare(_release(installed), _release(named))

    def hull(self) -> tuple[Cut, Cut]:
        """Where what the clause admits begins and ends; what != leaves out in between is not part of the answer."""
        before, after = self._around()
        start = {"==": before, ">=": before, ">": after}.get(self.sign, _FIRST)
        end = {"==": after, "<": before, "<=": after}.get(self.sign, _LAST)
        return start, end

    def _around(self) -> tuple[Cut, Cut]:
        """The places before and after all that the clause compares as equal."""
        named = self.version
        release = _release(named)
        if self.prefix:
            *higher, last = named.release
            beyond = (named.epoch, _trimmed((*higher, last + 1)))
            return (release, _BEFORE_ALL), (beyond, _BEFORE_ALL)
        if named.local is None and not named.is_prerelease and not named.is_postrelease:
            return (release, _BEFORE_ALL), (release, _AFTER_ALL)
        least = named.pre is None and named.post is None and named.dev is not None
        candidate = (-1,) if least else (1,) if named.pre is None else (0, *named.pre)
        post = (-1,) if named.post is None else (0, named.post)
        dev = (1,) if named.dev is None else (0, named.dev)
        exact = (release, candidate, post, dev)
        if named.local is None:
            return (*exact, (0,)), (*exact, (2,))
        parts = tuple((1, int(part), "") if part.isdigit() else (0, 0, part) for part in named.local.split("."))
        return (*exact, (1, parts, 0)), (*exact, (1, parts, 1))


def _release(version: Version) -> tuple[int, tuple[int, ...]]:
    """The release numbers of a version, in which 0.15 and 0.15.0 are the same."""
    return version.epoch, _trimmed(version.release)


def _trimmed(numbers: tuple[int, ...]) -> tuple[int, ...]:
    while numbers and not numbers[-1]:
        numbers = numbers[:-1]
    return numbers


# The longer signs come first, so that a text is not taken for one that begins with the shorter.
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


class Range(Value):
    """Versions between bounds, all of which must hold: ``>=0.15,<0.18``, ``==0.15.*``, ``0.15.0``."""

    text: str
    clauses: tuple[Clause, ...]

    def admits(self, installed: Version) -> bool:
        return all(clause.admits(installed) for clause in self.clauses)

    def __str__(self) -> str:
        return self.text

    def hull(self) -> tuple[Cut, Cut]:
        """Two places between which all lies that the range admits; the first may be the later one, if it is nothing."""
        hulls = [clause.hull() for clause in self.clauses]
        return max(start for start, _ in hulls), min(end for _, end in hulls)

    def meets(self, other: Range) -> bool:
        """Whether some version lies in both.

        What a clause admits is a run of versions, or two. So what all clauses admit, if it is anything, begins where
        one of those runs begins, or with the least version of all; those are the only places to look.
        """
        clauses = (*self.clauses, *other.clauses)
        longest = max(len(clause.version.release) for clause in clauses)
        places = [_LEAST, *(place for clause in clauses for place in _beginnings(clause, longest))]
        return any(self.admits(place) and other.admits(place) for place in places)


_LEAST = Version("0.dev0")


def _beginnings(clause: Clause, longest: int) -> Iterator[Version]:
    """Where the versions that a clause admits can begin, none of the releases in play being longer than ``longest``."""
    named = clause.version
    epoch, release = f"{named.epoch}!", ".".join(map(str, named.release))
    yield named
    yield Version(f"{epoch}{release}.dev0")
    if clause.prefix:
        *higher, last = named.release
        yield Version(f"{epoch}{'.'.join(map(str, (*higher, last + 1)))}.dev0")
    elif named.dev is not None:
        before_dev, _, dev = named.public.rpartition("dev")
        yield Version(f"{before_dev}dev{int(dev) + 1}")
    elif named.is_postrelease:
        before_post, _, post = named.public.rpartition("post")
        yield Version(f"{before_post}post{int(post) + 1}.dev0")
    elif named.is_prerelease:
        yield Version(f"{named.public}.post0.dev0")
    else:
        yield Version(f"{epoch}{release}{'.0' * (longest - len(named.release))}.0.1.dev0")


@cache
def parse_range(text: str) -> Range:
    """Read a range; VersionError says which part of it cannot be read."""
    clauses = []
    for part in map(str.strip, text.split(",")):
        sign = next((sign for sign in _OPERATORS if part.startswith(sign)), "")
        number = part.removeprefix(sign).lstrip()
        if not number or any(character.isspace() or character in "=<>!" for character in number):
            what = f"{part!r} is not a comparison such as '>=0.15' or '==0.15.*'"
            raise VersionError(f"{text!r} is not a range of versions: {what}")
        prefix = number.endswith(".*")
        version = parse(number.removesuffix(".*"))
        if version is None:
            raise VersionError(f"{text!r} is not a range of versions: {number!r} is not a version")
        if prefix and (version.is_prerelease or version.is_postrelease or version.local):
            raise VersionError(f"{text!r} is not a range of versions: '.*' follows release numbers only")
        for what, given in ((".*", prefix), (f"+{version.local}", version.local)):
            if given and sign not in ("", "==", "!="):
                raise VersionError(f"{text!r} is not a range of versions: {what!r} goes with == and != only")
        clauses.append(Clause(sign or "==", version, prefix))
    return Range(text.strip(), tuple(clauses))
