"""Statements of a function that never run one after the other: what one of them does, the other does not repeat."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from itertools import product
from typing import NamedTuple

from ascend_patches.carrying.inventory import FunctionNode, parsed
from ascend_patches.carrying.statement_text import assigned, read, read_dotted, statement

_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")
_AGAIN = (ast.For, ast.AsyncFor, ast.While, *FunctionNode, ast.ClassDef)
_MANAGED = (ast.With, ast.AsyncWith)


class _Place(NamedTuple):
    """Where a statement stands: what it is in, which block of that, and its number there."""

    parent: ast.AST
    block: str
    at: int


def never_together(text: str, some: Collection[str], others: Collection[str], in_loops: bool = False) -> bool:
    """Whether no call of a function runs one of some simple statements and one of others: they are on other branches.

    ``text`` is the function. A loop may come back to the other branch, and a function in it is called again: what is
    apart only within one of these counts where ``in_loops`` is given.
    """
    whole = parsed(text)
    if whole is None or any(_builds_on_itself(code) for code in (*some, *others)):
        return False
    listed = list(_statements(whole, ()))
    if not {*some, *others} <= {code for _, code in listed}:
        return False  # one is the head of a block, or none at all
    found = [[path for path, code in listed if code in wanted] for wanted in (some, others)]
    pairs = [(one, other) for one, other in product(*found) if one != other]
    return bool(pairs) and all(_are_apart(one, other, in_loops) for one, other in pairs)


def _builds_on_itself(code: str) -> bool:
    tree = statement(code)
    adds = tree is None or any(isinstance(node, ast.AugAssign) for node in ast.walk(tree))
    return adds or bool(assigned(code) & (read(code) | read_dotted(code)))


def _statements(node: ast.AST, path: tuple[_Place, ...]) -> Iterator[tuple[tuple[_Place, ...], str]]:
    """Every simple statement with the path that leads to it."""
    for block in _BLOCKS:
        inner = getattr(node, block, None)
        for index, each in enumerate(inner if isinstance(inner, list) else ()):
            here = (*path, _Place(node, block, index))
            if any(isinstance(getattr(each, name, None), list) for name in _BLOCKS):
                yield from _statements(each, here)
            elif isinstance(each, ast.stmt):
                yield here, ast.unparse(each)


def _are_apart(one: tuple[_Place, ...], other: tuple[_Place, ...], in_loops: bool) -> bool:
    at = next(index for index, (mine, theirs) in enumerate(zip(one, other, strict=False)) if mine != theirs)
    if not in_loops and any(isinstance(place.parent, _AGAIN) for place in one[1 : at + 1]):
        return False
    if one[at].block != other[at].block:
        return isinstance(one[at].parent, ast.If)
    earlier = min(one, other, key=lambda path: path[at].at)
    return not in_loops and _is_left(earlier[at + 1 :])


def _is_left(path: tuple[_Place, ...]) -> bool:
    """Whether a function is left at the end of a block on the way to a statement in it."""
    if any(isinstance(place.parent, (*FunctionNode, ast.ClassDef, ast.Try)) for place in path):
        return False
    # A context manager may keep what is raised in it to itself.
    ends = (ast.Return,) if any(isinstance(place.parent, _MANAGED) for place in path) else (ast.Return, ast.Raise)
    blocks: list[list[ast.stmt]] = [
        getattr(place.parent, place.block) for place in path if isinstance(place.parent, ast.If)
    ]
    return any(isinstance(block[-1], ends) and not _may_be_left_before(block) for block in blocks)


def _may_be_left_before(block: list[ast.stmt]) -> bool:
    """Whether a loop around a block may go on before its end is reached."""
    return any(isinstance(node, (ast.Continue, ast.Break)) for each in block for node in ast.walk(each))
