"""Which earlier changes of one definition let a later one be merged: tried on its statements alone, which is quick."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

from ascend_patches.carrying import merging
from ascend_patches.carrying.inventory import FunctionNode, inventory
from ascend_patches.carrying.merging import Unit

_ENOUGH = 6
Row = tuple[Unit, ...] | None
"""The statements of a definition; None where it is not there."""


class Step(NamedTuple):
    """What one commit makes of a definition."""

    sha: str
    before: Row
    after: Row


def row(text: str | None, path: str) -> Row:
    """The statements of a function in a text."""
    try:
        found = inventory(text or "")
    except (SyntaxError, ValueError):
        return None
    item = found.one(path)
    return merging.units(item.node, found.lines) if item is not None and isinstance(item.node, FunctionNode) else None


def leading_to(last: Step, steps: Sequence[Step], release: Row, most: int) -> list[tuple[str, ...]]:
    """The smallest sets of steps, in their order, after which the last one can be merged into the release's code."""
    made: dict[tuple[int, ...], tuple[bool, Row]] = {(): (True, release)}
    found: list[tuple[int, ...]] = []
    for count in range(1, most + 1):
        for chosen in combinations(range(len(steps)), count):
            if any(set(smaller) <= set(chosen) for smaller in found):
                continue
            fits, there = made.get(chosen[:-1], (False, None))
            made[chosen] = _upon(steps[chosen[-1]], there) if fits else (False, None)
            fits, there = made[chosen]
            if fits and _upon(last, there)[0]:
                found.append(chosen)
                if len(found) == _ENOUGH:
                    break
        if found:
            break
    return [tuple(steps[index].sha for index in chosen) for chosen in found]


class Disputed(NamedTuple):
    """The code in the places where a step does not merge: what it was made to, and what the release has instead."""

    lacking: frozenset[str]
    surplus: frozenset[str]


def disputed(last: Step, release: Row) -> Disputed | None:
    """What a step stumbles over on the release; None where one of the sides is not there."""
    if last.before is None or last.after is None or release is None:
        return None
    conflicts = merging.merge(last.before, last.after, release).conflicts
    base, there = ([conflict[index] for conflict in conflicts] for index in (0, 2))
    return Disputed(_written_in(last.before, base), _written_in(release, there))


def concerns(step: Step, found: Disputed | None) -> bool:
    """Whether a step put in, or took out, any of the code that is disputed."""
    if found is None or step.before is None or step.after is None:
        return True
    taken, put = merging.difference(step.before, step.after)
    return bool(put.keys() & found.lacking or taken.keys() & found.surplus)


def _written_in(row: Sequence[Unit], places: Sequence[str]) -> frozenset[str]:
    return frozenset(unit.code for unit in row if any(merging.text_of([unit]) in place for place in places))


def _upon(step: Step, there: Row) -> tuple[bool, Row]:
    """Whether a step can be merged into what is there, and what that makes of it."""
    if step.after is None:
        return False, None
    if step.before is None:
        return there is None or _same(there, step.after), step.after
    if there is None:
        return False, None
    merged = merging.merge(step.before, step.after, there)
    return not merged.conflicts, merged.units


def _same(first: Sequence[Unit], second: Sequence[Unit]) -> bool:
    return [unit.code for unit in first] == [unit.code for unit in second]
