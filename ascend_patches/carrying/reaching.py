"""From which statement another one has the value of a name, where that is certain."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from ascend_patches.carrying import merging
from ascend_patches.carrying.inventory import FunctionNode
from ascend_patches.carrying.merging import Unit
from ascend_patches.carrying.statement_text import assigned, statement

_OTHER_BRANCH = ("else: ", "finally: ")
_MAY_BE_PASSED_BY = ("elif ", "except", "for ", "async for ", "case ")
_DEFINITIONS = ("def ", "async def ", "class ")
_LOOPS = ("for ", "async for ", "while ")


def set_alike(name: str, readers: Sequence[str], theirs: Sequence[Unit], merged: Sequence[Unit]) -> bool:
    """Whether all statements of some codes have a name from the same statement in both rows."""
    sources = [[last_set(name, code, row) for code in readers] for row in (theirs, merged)]
    return all(sources[0]) and sources[0] == sources[1]


def last_set(name: str, code: str, row: Sequence[Unit]) -> str:
    """The statement that sets what another one reads, in the same block or in one around it; empty where not certain.

    A statement that stands several times, one in a block beside it, and one further on in a loop leave it open.
    """
    places = [index for index, unit in enumerate(row) if unit.code == code]
    if len(places) != 1:
        return ""
    depth = _outside(row[places[0]])
    for index in range(places[0] - 1, -1, -1):
        unit = row[index]
        is_definition = unit.code.startswith(_DEFINITIONS)
        if unit.code == merging.BY_LINES or (is_definition and 0 < unit.depth < depth):
            return ""
        if is_definition and not unit.depth:
            return "(parameter)" if name in _parameters(unit.code) else ""
        if unit.depth < depth and unit.code.startswith(_LOOPS) and _is_set_in_block(name, row, index):
            return ""
        if _sets(name, unit.code):
            certain = unit.depth <= depth and not unit.code.startswith(_MAY_BE_PASSED_BY) and not _adds(unit.code)
            return unit.code if certain else ""
        depth = min(depth, _outside(unit) if unit.depth <= depth else depth)
    return ""


def _outside(unit: Unit) -> int:
    """How deep what is certain to have run before a statement lies; what is in another branch has not."""
    return unit.depth - 1 if unit.code.startswith(_OTHER_BRANCH) else unit.depth


def _is_set_in_block(name: str, row: Sequence[Unit], head: int) -> bool:
    for unit in row[head + 1 :]:
        if unit.depth <= row[head].depth:
            return False
        if unit.code == merging.BY_LINES or _sets(name, unit.code):
            return True
    return False


def _sets(name: str, code: str) -> bool:
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
