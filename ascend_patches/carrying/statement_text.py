"""What one statement of a definition reads and sets, by its text alone; of a compound one, its head."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache

from ascend_patches.carrying.usage import dotted


@lru_cache(maxsize=16384)
def assigned(code: str) -> frozenset[str]:
    """The names and attributes that a statement sets; what a comprehension calls its items is its own."""
    tree = statement(code)
    found: set[str] = set()
    own = {id(inner) for node in _walk(tree) if isinstance(node, ast.comprehension) for inner in ast.walk(node.target)}
    for node in _walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in own:
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(dotted(node) or node.attr)
        elif isinstance(node, (ast.MatchAs, ast.MatchStar)) and node.name:
            found.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            found.add(node.rest)
    return frozenset(found - {"_"})


@lru_cache(maxsize=16384)
def read(code: str) -> frozenset[str]:
    """The names that a statement reads."""
    nodes = (node for node in _walk(statement(code)) if isinstance(node, ast.Name))
    return frozenset(node.id for node in nodes if isinstance(node.ctx, ast.Load))


@lru_cache(maxsize=16384)
def read_dotted(code: str) -> frozenset[str]:
    """The attributes of named things that a statement reads, as ``a.b.c``."""
    nodes = [node for node in _walk(statement(code)) if isinstance(node, ast.Attribute)]
    return frozenset(name for node in nodes if isinstance(node.ctx, ast.Load) and (name := dotted(node)))


def called(code: str) -> str:
    """What a statement calls and what it sets from that, without the arguments; empty where it is no call alone."""
    node = _first(code)
    value = getattr(node, "value", None) if isinstance(node, (ast.Assign, ast.Expr, ast.Return)) else None
    if not isinstance(value, ast.Call) or not dotted(value.func):
        return ""
    return f"{_kind(node)} {dotted(value.func)}".strip()


def form_of(code: str) -> str:
    """What one statement and another that takes its place have in common: what they call, what they set."""
    return called(code) or _kind(_first(code)) or code


def _first(code: str) -> ast.stmt | None:
    tree = statement(code)
    return tree.body[0] if isinstance(tree, ast.Module) and tree.body else None


def _kind(node: ast.stmt | None) -> str:
    if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return f"{type(node).__name__} {', '.join(map(ast.unparse, targets))}"
    heads = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Return, ast.Raise, ast.Assert)
    return type(node).__name__ if isinstance(node, heads) else ""


def bare(code: str) -> str:
    """A unit's code without the ``else:`` or the ``finally:`` that goes with the first statement after it."""
    return code.removeprefix("else: ").removeprefix("finally: ")


def _walk(tree: ast.AST | None) -> Iterator[ast.AST]:
    return ast.walk(tree) if tree is not None else iter(())


@lru_cache(maxsize=16384)
def statement(code: str) -> ast.AST | None:
    """A unit's code as a tree, which nobody changes; None where it is none by itself."""
    text = bare(code)
    text = text.replace("elif ", "if ", 1) if text.startswith("elif ") else text
    around = (f"try:\n    pass\n{text}\n    pass", f"{text}\ndef f(): pass", f"match _:\n    {text}\n        pass")
    for candidate in (text, f"{text}\n    pass", *around):
        try:
            return ast.parse(candidate)
        except SyntaxError:
            continue
    return None
