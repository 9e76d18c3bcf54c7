"""Change several things in one step, which no other thread can come between.

Python switches threads between instructions of Python code, never within one call of a function in C. So all the
assignments are handed to one such call, and with them the question whether a call has entered what is changed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, starmap, takewhile
from operator import eq, is_not
from types import CodeType, FrameType, ModuleType
from typing import Any, TypeAlias

from ascend_patches.replacing.inside import calls_inside

Step: TypeAlias = "partial[None]"
"""One assignment: it returns None, and runs no code in Python."""

_ATTEMPTS = 20
_GOES_ON = partial(is_not, False)
_CALL = partial.__call__


class StepError(Exception):
    """A step failed; ``index`` says which. Those before it are done."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


def setting(owner: ModuleType | type, name: str, value: Any) -> Step:
    """Set an attribute as it is, past what a metaclass or a module may do about that."""
    if isinstance(owner, type):
        return partial(type.__setattr__, owner, name, value)
    return item(owner.__dict__, name, value)


def deleting(owner: type, name: str) -> Step:
    return partial(type.__delattr__, owner, name)


def removing(names: dict[str, Any], key: str) -> Step:
    return partial(names.__delitem__, key)


def item(names: dict[str, Any], key: str, value: Any) -> Step:
    return partial(names.__setitem__, key, value)


def attribute(thing: object, name: str, value: Any) -> Step:
    return partial(setattr, thing, name, value)


def at_once(steps: Iterable[Step]) -> None:
    """Do all the steps; StepError says which one failed."""
    _run(map(_CALL, steps), 0)


def while_nobody_is_inside(
    steps: Sequence[Step], codes: Mapping[CodeType, str], wrappers: frozenset[CodeType]
) -> list[str]:
    """Do all the steps while no call is inside the functions of some codes; else none, and say which calls there are.

    ``wrappers`` are codes through which a call of this thread may have come, as long as it has left what they wrap.
    """
    watched = [*codes, *wrappers]
    for _ in range(_ATTEMPTS):
        frames, counts = _snapshot(watched)
        calls = calls_inside(frames, codes, wrappers)
        frames.clear()
        if calls:
            return calls
        unchanged = map(eq, map(sys.getrefcount, watched), counts)
        if _run(takewhile(_GOES_ON, chain(unchanged, map(_CALL, steps))), len(watched)) == len(watched) + len(steps):
            return []
    return [f"calls of {', '.join(dict.fromkeys(codes.values()))} come and go all the time"]


def _snapshot(codes: Sequence[CodeType]) -> tuple[dict[int, FrameType], tuple[int, ...]]:
    """The stacks of all threads, and how many references there are to each code at the same moment.

    Every call in flight, running or suspended, holds a reference to its code.
    """
    nothing: tuple[()] = ()
    found: tuple[Any, ...] = tuple(chain(starmap(sys._current_frames, [nothing]), map(sys.getrefcount, codes)))
    return found[0], found[1:]


def _run(results: Iterator[object], before: int) -> int:
    """Take all results, in one call of C; says how many there were. The first ``before`` are of no step."""
    done: list[object] = []
    try:
        done.extend(results)
    except (TypeError, AttributeError) as error:
        raise StepError(len(done) - before) from error
    return len(done)
