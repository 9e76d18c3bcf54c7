"""Statements that stand twice in a merged definition, of which the second does or reads what the first did."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from itertools import pairwise

from ascend_patches.carrying import merging, reaching
from ascend_patches.carrying.merging import Unit
from ascend_patches.carrying.statement_text import bare, statement
from ascend_patches.carrying.usage import dotted

_OTHER_BLOCK = ("else: ", "finally: ")


def sets_the_same_again(code: str, row: Sequence[Unit]) -> bool:
    """Whether a statement sets a constant that is set already: in one block, with nothing between that sets another."""
    target = _set_to_a_constant(code)
    places = _places(code, row)
    if not target or len(places) < 2:
        return False
    return all(_keeps(target, row[first : second + 1]) for first, second in pairwise(places))


def reads_the_same_again(name: str, code: str, row: Sequence[Unit]) -> bool:
    """Whether nothing sets a name between the occurrences of a statement."""
    places = _places(code, row)
    between = row[places[0] + 1 : places[-1]] if len(places) > 1 else ()
    return len(places) > 1 and not any(_may_set(name, unit) for unit in between)


def _places(code: str, row: Sequence[Unit]) -> list[int]:
    return [index for index, unit in enumerate(row) if bare(unit.code) == code]


def _set_to_a_constant(code: str) -> str:
    """The name or the attribute that a statement sets to a constant; empty where it is another statement."""
    tree = statement(code)
    node = tree.body[0] if isinstance(tree, ast.Module) and len(tree.body) == 1 else None
    if not isinstance(node, ast.Assign) or len(node.targets) != 1 or not isinstance(node.value, ast.Constant):
        return ""
    return dotted(node.targets[0])


def _keeps(target: str, row: Sequence[Unit]) -> bool:
    """Whether the last statement of a row runs after the first, and finds a name or an attribute as that has set it."""
    depth = row[0].depth
    if any(unit.depth < depth or (unit.depth == depth and unit.code.startswith(_OTHER_BLOCK)) for unit in row[1:]):
        return False
    owner = target.partition(".")[0]
    return not any(_may_set(target, unit) or ("." in target and _hands_out(owner, unit)) for unit in row[1:-1])


def _may_set(name: str, unit: Unit) -> bool:
    return unit.code == merging.BY_LINES or reaching.sets(name, unit.code)


def _hands_out(owner: str, unit: Unit) -> bool:
    """Whether a statement gives an object to code that may set what it has: it calls it, or calls with it."""
    tree = statement(unit.code)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)] if tree is not None else []
    names = (node for call in calls for node in ast.walk(call) if isinstance(node, ast.Name))
    return tree is None or any(node.id == owner and _is_given(node, calls) for node in names)


def _is_given(name: ast.Name, calls: Sequence[ast.Call]) -> bool:
    """Whether a call gets an object itself, or is of a method of it; an attribute of it that is read does not count."""
    for call in calls:
        given = [*call.args, *(keyword.value for keyword in call.keywords)]
        if name in given or (isinstance(call.func, ast.Attribute) and name in list(ast.walk(call.func))):
            return True
        if any(isinstance(each, (ast.Starred, ast.Lambda)) and name in list(ast.walk(each)) for each in given):
            return True
    return False
