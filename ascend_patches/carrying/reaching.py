"""From which statement another one has the value of a name, where that is certain."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from ascend_patches.carrying import merging
from ascend_patches.carrying.inventory import FunctionNode
from ascend_patches.carrying.merging import Unit
from ascend_patches.carrying.statement_text import assigned, bare, statement

_OTHER_BRANCH = ("else: ", "finally: ")
_MAY_BE_PASSED_BY = ("elif ", "except", "for ", "async for ", "case ")
_DEFINITIONS = ("def ", "async def ", "class ")
_LOOPS = ("for ", "async for ", "while ")


def set_alike(name: str, readers: Sequence[str], theirs: Sequence[Unit], merged: Sequence[Unit]) -> bool:
    """Whether all statements of some codes have a name from the same statement in both rows."""
    rows = [[last_set(name, code, row) for code in readers] for row in (theirs, merged)]
    return all(found and all(found) for found in rows[0]) and rows[0] == rows[1]


def last_set(name: str, code: str, row: Sequence[Unit]) -> list[str]:
    """The statements that set what another one reads, one for each time that it stands in a row.

    Each is in the same block or in one around it; one that is not certain is empty. What is set in a block beside it,
    or further on in a loop, leaves it open.
    """
    return [_last_before(name, index, row) for index, unit in enumerate(row) if bare(unit.code) == code]


def _last_before(name: str, place: int, row: Sequence[Unit]) -> str:
    depth = _outside(row[place])
    for index in range(place - 1, -1, -1):
        unit = row[index]
        is_definition = unit.code.startswith(_DEFINITIONS)
        if unit.code == merging.BY_LINES or (is_definition and 0 < unit.depth < depth):
            return ""
        if is_definition and not unit.depth:
            return "(parameter)" if name in _parameters(unit.code) else ""
        if unit.depth < depth and unit.code.startswith(_LOOPS) and _is_set_in_block(name, row, index):
            return ""
        if sets(name, unit.code):
            certain = unit.depth <= depth and not unit.code.startswith(_MAY_BE_PASSED_BY) and not _adds(unit.code)
            return bare(unit.code) if certain else ""
        depth = min(depth, _outside(unit) if unit.depth <= depth else depth)
    return ""


def _outside(unit: Unit) -> int:
    """How deep what is certain to have run before a statement lies; what is in another branch has not."""
    return unit.depth - 1 if unit.code.startswith(_OTHER_BRANCH) else unit.depth


def _is_set_in_block(name: str, row: Sequence[Unit], head: int) -> bool:
    for unit in row[head + 1 :]:
        if unit.depth <= row[head].depth:
            return False
        if unit.code == merging.BY_LINES or sets(name, unit.code):
            return True
    return False


def parameters_of(row: Sequence[Unit]) -> set[str]:
    """The parameters of the function that a row is."""
    return next((_parameters(unit.code) for unit in row if unit.code.startswith(_DEFINITIONS)), set())


def sets(name: str, code: str) -> bool:
    """Whether a statement binds a name in any way, or takes it away."""
    if name in assigned(code):
        return True
    tree = statement(code)
    return any(name in _bound_by(node) for node in ast.walk(tree)) if tree is not None else False


def _bound_by(node: ast.AST) -> set[str]:
    """The names that a statement binds, or takes away, other than by an assignment."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, (ast.Global, ast.Nonlocal)):
        return set(node.names)
    if isinstance(node, ast.Delete):
        return {ast.unparse(target) for target in node.targets}
    if isinstance(node, (*FunctionNode, ast.ClassDef, ast.ExceptHandler)):
        return {node.name} if node.name else set()
    return set()


def _parameters(code: str) -> set[str]:
    tree = statement(code)
    return {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)} if tree is not None else set()


def _adds(code: str) -> bool:
    """Whether what a statement sets depends on what was there, or is set nowhere."""
    tree = statement(code)
    odd = (ast.AugAssign, ast.Delete, ast.Global, ast.Nonlocal)
    return tree is None or any(isinstance(node, odd) for node in ast.walk(tree))
