"""Statements that stand twice in a merged definition, of which the second does or reads what the first did."""

from __future__ import annotations

import ast
from collections.abc import Collection, Sequence
from itertools import pairwise

from ascend_patches.carrying import altering, merging, reaching
from ascend_patches.carrying.merging import Unit
from ascend_patches.carrying.statement_text import bare, statement
from ascend_patches.carrying.usage import dotted

_OTHER_BLOCK = ("else: ", "finally: ")


def sets_the_same_again(code: str, theirs: Sequence[Unit], row: Sequence[Unit]) -> bool:
    """Whether a statement sets a constant that is set already: in one block, with nothing between that sets another.

    What upstream runs between as well is no reason to set it again; what only the release runs there may be one.
    """
    target = _set_to_a_constant(code)
    places = _places(code, row)
    if not target or len(places) < 2:
        return False
    known = {unit.code for unit in theirs}
    return all(_keeps(target, row[first : second + 1], row, known) for first, second in pairwise(places))


def is_copy(name: str, code: str, theirs: Sequence[Unit], merged: Sequence[Unit]) -> bool:
    """Whether a statement reads a name as its other occurrence does, on both sides.

    What the release alone may have altered of it before the one and not before the other counts against it.
    """
    upstream, here = (reaching.sources(name, code, row) for row in (theirs, merged))
    for found in (upstream, here):
        if len(found) < 2 or not found[0].chain or any(each.chain != found[0].chain for each in found):
            return False
    known, own = (_not_of_all([{*each.altered} for each in found]) for found in (upstream, here))
    return own <= {*known, code}


def _not_of_all(found: Sequence[set[str]]) -> set[str]:
    return {each for side in found for each in side if any(each not in other for other in found)}


def _places(code: str, row: Sequence[Unit]) -> list[int]:
    return [index for index, unit in enumerate(row) if bare(unit.code) == code]


def _set_to_a_constant(code: str) -> str:
    """The name or the attribute that a statement sets to a constant; empty where it is another statement."""
    tree = statement(code)
    node = tree.body[0] if isinstance(tree, ast.Module) and len(tree.body) == 1 else None
    if not isinstance(node, ast.Assign) or len(node.targets) != 1 or not isinstance(node.value, ast.Constant):
        return ""
    return dotted(node.targets[0])


def _keeps(target: str, between: Sequence[Unit], row: Sequence[Unit], known: Collection[str]) -> bool:
    """Whether the last statement of a stretch runs after the first, and finds a name or an attribute as that set it."""
    depth = between[0].depth
    inner = between[1:-1]
    if any(unit.depth < depth or (unit.depth == depth and unit.code.startswith(_OTHER_BLOCK)) for unit in between[1:]):
        return False
    if any(_may_set(target, unit) for unit in inner):
        return False
    if reaching.is_shared(target, row):
        return not any(altering.calls_something(unit.code) for unit in inner)
    own = [unit for unit in inner if unit.code not in known]
    is_attribute = "." in target
    return not is_attribute or not (
        any(altering.alters(target, unit.code) for unit in inner)
        or any(altering.calls_something(unit.code) for unit in own)
    )


def _may_set(name: str, unit: Unit) -> bool:
    return unit.code == merging.BY_LINES or reaching.sets(name, unit.code)
