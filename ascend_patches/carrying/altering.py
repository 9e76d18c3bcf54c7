"""Statements that may change what a name or an attribute holds without binding it: calls, and what is set inside it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from functools import lru_cache

from ascend_patches.carrying import merging
from ascend_patches.carrying.statement_text import statement
from ascend_patches.carrying.usage import dotted

_HARMLESS = frozenset(
    {
        *("logger", "print", "len", "isinstance", "issubclass", "hasattr", "getattr", "type", "id", "repr", "callable"),
        *("int", "float", "str", "bool", "range", "min", "max", "sum", "abs", "round", "tuple", "list", "set", "dict"),
        *("sorted", "enumerate", "zip", "any", "all", "super", "math", "time"),
    }
)
"""What a call of these gets is afterwards what it was."""


@lru_cache(maxsize=65536)
def alters(name: str, code: str) -> bool:
    """Whether a statement may change what a name or an attribute holds: it hands it out, or sets something inside it.

    An attribute is reached by its object, under another name of that as well, and by what runs while a function waits.
    """
    tree = _tree(code)
    if tree is None:
        return code == merging.BY_LINES
    owner, _, last = name.rpartition(".")
    root = name.partition(".")[0]
    if owner and waits(code):
        return True
    for place in _set_inside(tree):
        inside = ast.unparse(place.value)
        if inside == name or inside.startswith((f"{name}.", f"{name}[", f"{root}.__dict__")):
            return True
        if owner and isinstance(place, ast.Attribute) and place.attr == last and inside != owner:
            return True
    calls = list(_calls(tree))
    names = (node for call in calls for node in ast.walk(call) if isinstance(node, ast.Name))
    return any(node.id == root and _is_given(node, calls) for node in names)


@lru_cache(maxsize=65536)
def sets_an_item(name: str, code: str) -> bool:
    """Whether a statement sets an item of what a name or an attribute holds."""
    tree = _tree(code)
    places = _set_inside(tree) if tree is not None and "[" in code else ()
    return any(isinstance(place, ast.Subscript) and ast.unparse(place.value) == name for place in places)


@lru_cache(maxsize=65536)
def calls_something(code: str) -> bool:
    """Whether a statement runs code elsewhere that may do anything."""
    tree = _tree(code)
    return code == merging.BY_LINES if tree is None else any(True for _ in _calls(tree)) or waits(code)


def waits(code: str) -> bool:
    """Whether others run before a statement has ended."""
    tree = _tree(code)
    odd = (ast.Yield, ast.YieldFrom, ast.Await, ast.AsyncFor, ast.AsyncWith)
    return tree is not None and any(isinstance(node, odd) for node in ast.walk(tree))


def _tree(code: str) -> ast.AST | None:
    return None if code == merging.BY_LINES else statement(code)


def _set_inside(tree: ast.AST) -> Iterator[ast.Attribute | ast.Subscript]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Attribute, ast.Subscript)) and not isinstance(node.ctx, ast.Load):
            yield node


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and dotted(node.func).partition(".")[0] not in _HARMLESS:
            yield node


def _is_given(name: ast.Name, calls: Sequence[ast.Call]) -> bool:
    """Whether a call gets an object itself, or is of a method of it; an attribute of it that is read does not count."""
    for call in calls:
        given = [*call.args, *(keyword.value for keyword in call.keywords)]
        if name in given or (isinstance(call.func, ast.Attribute) and name in list(ast.walk(call.func))):
            return True
        if any(isinstance(each, (ast.Starred, ast.Lambda)) and name in list(ast.walk(each)) for each in given):
            return True
    return False
