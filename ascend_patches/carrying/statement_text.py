"""What one statement of a definition reads and sets, by its text alone; of a compound one, its head."""

from __future__ import annotations

import ast

from ascend_patches.carrying.usage import dotted


def assigned(code: str) -> set[str]:
    """The names and attributes that a statement sets."""
    tree = statement(code)
    found: set[str] = set()
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(dotted(node) or node.attr)
    return found - {"_"}


def read(code: str) -> set[str]:
    """The names that a statement reads."""
    tree = statement(code)
    if tree is None:
        return set()
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


def read_dotted(code: str) -> set[str]:
    """The attributes of named things that a statement reads, as ``a.b.c``."""
    tree = statement(code)
    if tree is None:
        return set()
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)]
    return {name for name in map(dotted, nodes) if name}


def bare(code: str) -> str:
    """A unit's code without the ``else:`` or the ``finally:`` that goes with the first statement after it."""
    return code.removeprefix("else: ").removeprefix("finally: ")


def statement(code: str) -> ast.AST | None:
    """A unit's code as a tree; None where it is none by itself."""
    text = bare(code)
    text = text.replace("elif ", "if ", 1) if text.startswith("elif ") else text
    for candidate in (text, f"{text}\n    pass", f"try:\n    pass\n{text}\n    pass", f"{text}\ndef f(): pass"):
        try:
            return ast.parse(candidate)
        except SyntaxError:
            continue
    return None
