"""From which statement another one has the value of a name, where that is certain."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import takewhile
from typing import NamedTuple

from ascend_patches.carrying import merging
from ascend_patches.carrying.altering import alters
from ascend_patches.carrying.inventory import FunctionNode
from ascend_patches.carrying.merging import Unit
from ascend_patches.carrying.statement_text import assigned, bare, read, read_dotted, statement

_OTHER_BRANCH = ("else: ", "finally: ")
_MAY_BE_PASSED_BY = ("elif ", "except", "for ", "async for ", "case ")
_DEFINITIONS = ("def ", "async def ", "class ")
_LOOPS = ("for ", "async for ", "while ")
_FROM_OUTSIDE = "(outside)"


_OUTSIDE = -1
_UNCERTAIN = -2


class Source(NamedTuple):
    """What a statement has a name from, and what may have altered it on the way."""

    chain: str
    """The statement that set it, with those that set what that read; empty where it is not certain."""
    altered: tuple[str, ...]


def set_alike(name: str, readers: Sequence[str], theirs: Sequence[Unit], merged: Sequence[Unit]) -> bool:
    """Whether all statements of some codes have a name from the same statements in both rows, and untouched since."""
    rows = [[sources(name, code, row) for code in readers] for row in (theirs, merged)]
    certain = all(found and all(each.chain not in ("", _FROM_OUTSIDE) for each in found) for found in rows[0])
    return certain and rows[0] == rows[1]


def made_otherwise(name: str, readers: Sequence[str], theirs: Sequence[Unit], merged: Sequence[Unit]) -> bool:
    """Whether some statements certainly have a name from other values in one row than in another."""
    for code in readers:
        rows = [{each.chain for each in sources(name, code, row)} for row in (theirs, merged)]
        if all(rows) and not {"", _FROM_OUTSIDE} & (rows[0] | rows[1]) and rows[0] != rows[1]:
            return True
    return False


def last_set(name: str, code: str, row: Sequence[Unit]) -> list[str]:
    """The statements that set what another one reads, one for each time that it stands in a row.

    Each is in the same block or in one around it; one that is not certain is empty. What is set in a block beside it,
    or further on in a loop, leaves it open.
    """
    places = [_last_before(name, index, row) for index, unit in enumerate(row) if bare(unit.code) == code]
    return ["" if place == _UNCERTAIN else _shown(name, place, row).replace(_FROM_OUTSIDE, "") for place in places]


def sources(name: str, code: str, row: Sequence[Unit]) -> list[Source]:
    """Where a statement has a name from, once for each time that it stands in a row."""
    known: dict[tuple[str, int], Source] = {}
    return [_source(name, index, row, known) for index, unit in enumerate(row) if bare(unit.code) == code]


def is_shared(name: str, row: Sequence[Unit]) -> bool:
    """Whether a name is one that other functions may set."""
    return any(
        isinstance(node, (ast.Global, ast.Nonlocal)) and name in node.names
        for unit in row
        for node in ast.walk(statement(unit.code) or ast.Module(body=[], type_ignores=[]))
    )


def _source(name: str, place: int, row: Sequence[Unit], known: dict[tuple[str, int], Source]) -> Source:
    if (name, place) not in known:
        known[name, place] = _found(name, place, row, known)
    return known[name, place]


def _found(name: str, place: int, row: Sequence[Unit], known: dict[tuple[str, int], Source]) -> Source:
    at = _last_before(name, place, row)
    if at == _UNCERTAIN or is_shared(name, row):
        return Source("", ())
    altered = [row[index].code for index in _run_between(max(at, 0), place, row) if alters(name, row[index].code)]
    chain = [_shown(name, at, row)]
    for each in sorted(read(row[at].code) | read_dotted(row[at].code)) if at >= 0 else ():
        if any(sets(each, unit.code) for unit in row):
            inner = _source(each, at, row, known)
            first, *rest = inner.chain.split("\n")
            chain += [f"{each}: {_unpacked(each, first)}", *rest]
            altered += inner.altered
    return Source("\n".join(chain), tuple(altered))


def _shown(name: str, at: int, row: Sequence[Unit]) -> str:
    if at >= 0:
        return bare(row[at].code)
    return "(parameter)" if name in parameters_of(row) else _FROM_OUTSIDE


def _unpacked(name: str, code: str) -> str:
    """What an unpacking gives one name, whatever others it gives; any other statement as it is."""
    tree = statement(code)
    node = tree.body[0] if isinstance(tree, ast.Module) and len(tree.body) == 1 else None
    plain = isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Tuple)
    return f"{name} of {ast.unparse(node.value)}" if plain and isinstance(node, ast.Assign) else code


def _run_between(first: int, last: int, row: Sequence[Unit]) -> list[int]:
    """The statements that may run after one and before another: those between, and all of the loops around the last."""
    found = set(range(first + 1, last))
    depth = row[last].depth
    for index in range(last - 1, first, -1):
        if row[index].depth < depth:
            depth = row[index].depth
            if row[index].code.startswith(_LOOPS):
                found |= {last + step for step, _ in enumerate(_rest_of_block(row, index, last))}
    return sorted(found)


def _rest_of_block(row: Sequence[Unit], head: int, start: int) -> Iterator[Unit]:
    return takewhile(lambda unit: unit.depth > row[head].depth, row[start:])


def _last_before(name: str, place: int, row: Sequence[Unit]) -> int:
    depth = _outside(row[place])
    for index in range(place - 1, -1, -1):
        unit = row[index]
        is_definition = unit.code.startswith(_DEFINITIONS)
        if unit.code == merging.BY_LINES or (is_definition and 0 < unit.depth < depth):
            return _UNCERTAIN
        if is_definition and not unit.depth:
            return _OUTSIDE
        if unit.depth < depth and unit.code.startswith(_LOOPS) and _is_set_in_block(name, row, index):
            return _UNCERTAIN
        if sets(name, unit.code):
            certain = unit.depth <= depth and not unit.code.startswith(_MAY_BE_PASSED_BY) and not _adds(unit.code)
            return index if certain else _UNCERTAIN
        depth = min(depth, _outside(unit) if unit.depth <= depth else depth)
    return _OUTSIDE


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


@lru_cache(maxsize=65536)
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
