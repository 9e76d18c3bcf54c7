"""Whether a definition of the release has a change already, though both sides have gone on since.

It has if all that the change puts in is there, in order and in the same blocks, and nothing of what it takes out.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Sequence

from ascend_patches.carrying import merging
from ascend_patches.carrying.merging import Unit
from ascend_patches.carrying.usage import dotted

_Place = tuple[str, str]
_TRIVIAL = ("pass", "return", "continue", "break", "else: pass", "try:", "(docstring)")


def has_already(base: Sequence[Unit], theirs: Sequence[Unit], ours: Sequence[Unit]) -> bool:
    """Whether the release has what the change makes of the base."""
    old, new, here = (_places(side) for side in (base, theirs, ours))
    put_in, taken_out = Counter(new) - Counter(old), Counter(old) - Counter(new)
    if not any(_tells(code) for code, _ in put_in):
        return False  # that nothing is there which the change takes out proves nothing
    known = Counter(here)
    for place in taken_out:
        # A statement that only went to another block is taken out of the first one.
        if known[place] > Counter(new)[place]:
            return False
    at = -1
    for place in (each for each in new if each in put_in):
        found = _next(place, here, at + 1)
        if found is None and not _has_parts(place, old, here):
            return False
        at = at if found is None else found
    return True


def _places(row: Sequence[Unit]) -> list[_Place]:
    """Each statement with the head of the block that it is in; the definition's own head is in none."""
    return [(code, blocks[-1] if blocks else "") for code, blocks in merging.in_blocks(row)]


def _tells(code: str) -> bool:
    return code not in _TRIVIAL and not code.startswith(("@", "def ", "async def "))


def _next(place: _Place, row: Sequence[_Place], start: int) -> int | None:
    return next((index for index in range(start, len(row)) if row[index] == place), None)


def _has_parts(place: _Place, old: Sequence[_Place], here: Sequence[_Place]) -> bool:
    """Whether the one statement of its kind on the release has the arguments that a changed call is given.

    The release may have changed others of its arguments.
    """
    code, block = place
    anchor, parts = _call(code)
    before = [_call(each) for each, _ in old]
    then = [each for name, each in before if name == anchor]
    now = [_call(each)[1] for each, around in here if around == block and _call(each)[0] == anchor]
    if not anchor or len(then) != 1 or len(now) != 1:
        return False
    put_in, taken_out = parts - then[0], then[0] - parts
    return bool(put_in or taken_out or place not in old) and put_in <= now[0] and not taken_out & now[0]


def _call(code: str) -> tuple[str, Counter[str]]:
    """What a statement calls and assigns to, and the arguments that it gives; nothing where it is something else."""
    try:
        (statement,) = ast.parse(code).body
    except (SyntaxError, ValueError):
        return "", Counter()
    value = getattr(statement, "value", None)
    if not isinstance(statement, (ast.Assign, ast.Expr, ast.Return)) or not isinstance(value, ast.Call):
        return "", Counter()
    targets = [ast.unparse(each) for each in getattr(statement, "targets", [])]
    name = dotted(value.func)
    parts = Counter([*(f"{ast.unparse(each)}" for each in value.args), *map(ast.unparse, value.keywords)])
    return (f"{type(statement).__name__} {targets} {name}" if name else ""), parts
