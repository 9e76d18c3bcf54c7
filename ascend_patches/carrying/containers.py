"""What a release does with a dictionary or a list of a module while it runs: it changes it, or goes over it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from ascend_patches.carrying.release_code import Code, Module
from ascend_patches.carrying.usage import dotted

_CHANGING = frozenset(
    {
        *("update", "setdefault", "pop", "popitem", "clear", "append", "extend", "insert", "remove", "add", "discard"),
        *("sort", "reverse", "__setitem__", "__delitem__"),
    }
)
_GOING_OVER = frozenset(
    {"items", "keys", "values", "list", "tuple", "iter", "next", "enumerate", "sorted", "max", "min"}
)


def filled(code: Code, module: Module, name: str) -> str:
    """The statement that changes what a container of a module holds; empty where none does.

    What is put into one is not in another that takes its place, and is lost when that goes.
    """
    for user, node in _nodes(code, module, name):
        changed: ast.AST | None = None
        if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            changed = node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _CHANGING:
            changed = node.func.value
        if changed is not None and _leads_to(changed, user, code, module, name):
            return f"{user.name}: {ast.unparse(node)}"
    return ""


def is_gone_over(code: Code, module: Module, name: str) -> bool:
    """Whether something goes over a container in its order."""
    for user, node in _nodes(code, module, name):
        over: list[ast.expr] = []
        if isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension)):
            over = [node.iter]
        elif isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] in _GOING_OVER:
            over = [*node.args, *([node.func.value] if isinstance(node.func, ast.Attribute) else [])]
        if any(_leads_to(each, user, code, module, name) for each in over):
            return True
    return False


def asked_for_by_name(code: Code, module: Module, name: str) -> str:
    """The module that asks for a name of a module by its text; empty where none does."""
    for user, node in _nodes(code, module, name):
        if isinstance(node, ast.Call) and dotted(node.func) == "getattr" and len(node.args) > 1:
            asked = node.args[1]
            if isinstance(asked, ast.Constant) and asked.value == name:
                return user.name
    return ""


def _nodes(code: Code, module: Module, name: str) -> Iterator[tuple[Module, ast.AST]]:
    for path in dict.fromkeys((module.path, *code.with_word(name))):
        user = code.module_at(path)
        for node in ast.walk(user.inventory.tree) if user is not None and name in user.inventory.text else ():
            assert user is not None
            yield user, node


def _leads_to(node: ast.AST, user: Module, code: Code, module: Module, name: str) -> bool:
    """Whether an expression is the container, or something in it."""
    while isinstance(node, (ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
        if isinstance(node, ast.Attribute) and node.attr in ("get", "items", "keys", "values", "setdefault"):
            node = node.value
    root, _, last = dotted(node).rpartition(".")
    if last != name:
        return False
    if root:
        return code.module_named(user, root) == module.name
    return user is module or code.origin(user.name, name) == (module.name, name) or _is_imported_inside(user, name)


def _is_imported_inside(user: Module, name: str) -> bool:
    """Whether a function of a module imports the name for itself."""
    return name not in user.bound and any(
        isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names)
        for node in ast.walk(user.inventory.tree)
    )
