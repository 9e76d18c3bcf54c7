"""What took a function when its module ran: assignments like ``vllm.module.Class.method = function``, tables, defaults.

A function that is replaced later does not reach these. A plain assignment to an attribute can be made again; anything
else cannot.
"""

from __future__ import annotations

import ast

from ascend_patches.carrying.inventory import FunctionNode, Item
from ascend_patches.carrying.release_code import Code, Module
from ascend_patches.carrying.usage import dotted


def captured(code: Code, module: Module, item: Item) -> tuple[tuple[str, ...], str]:
    """The targets that hold a function besides its own, and why some holder is out of reach."""
    also: list[str] = []
    for items in module.inventory.items.values():
        for other in items:
            if other.path == item.path or (other.kind == "class" and not item.scope):
                continue
            if not _mentions(other, item):
                continue
            place = assigned_to(code, module, other.node, item.path)
            if place is not None:
                also.append(place)
            elif not _is_plain_alias(other, item):
                shown = other.path.removeprefix("statement ").partition("\n")[0][:60]
                return (), f"`{shown}` took it when the module ran"
    return tuple(also), ""


def assigned_to(code: Code, module: Module, node: ast.stmt, path: str = "") -> str | None:
    """The target that ``a.b.c = function`` sets; None where the statement is another one."""
    if not isinstance(node, ast.Assign) or len(node.targets) != 1 or not isinstance(node.targets[0], ast.Attribute):
        return None
    value = dotted(node.value)
    if not value or (path and value != path):
        return None
    return place_of(code, module, dotted(node.targets[0]))


def place_of(code: Code, module: Module, name: str) -> str | None:
    """``a.b.c`` in a module as a target."""
    first, _, rest = name.partition(".")
    origin = code.origin(module.name, first)
    if origin is None or not rest:
        return None
    if origin[1]:
        return f"{origin[0]}:{origin[1]}.{rest}"
    parts = [*origin[0].split("."), *rest.split(".")]
    for count in range(len(parts) - 1, 0, -1):
        if code.path_of(".".join(parts[:count])) is not None:
            return f"{'.'.join(parts[:count])}:{'.'.join(parts[count:])}"
    return None


def _mentions(other: Item, item: Item) -> bool:
    """Whether an item uses a function at the time when its module or class runs."""
    if other.kind == "import":
        return False
    runs: list[ast.AST] = [other.node]
    if isinstance(other.node, FunctionNode):
        arguments = other.node.args
        runs = [*other.node.decorator_list, *arguments.defaults, *filter(None, arguments.kw_defaults)]
    elif isinstance(other.node, ast.ClassDef):
        runs = [*other.node.decorator_list, *other.node.bases, *other.node.keywords]
    for run in runs:
        for node in ast.walk(run):
            if (
                not item.scope
                and isinstance(node, ast.Name)
                and node.id == item.path
                and isinstance(node.ctx, ast.Load)
            ):
                return True
            if item.scope and isinstance(node, ast.Attribute) and dotted(node) == item.path:
                return True
            if item.scope and other.scope == item.scope and isinstance(node, ast.Name) and node.id == item.name:
                return isinstance(node.ctx, ast.Load)
    return False


def _is_plain_alias(other: Item, item: Item) -> bool:
    """``alias = function`` in a module, which is found and rebound by identity."""
    return (
        not item.scope
        and not other.scope
        and isinstance(other.node, ast.Assign)
        and isinstance(other.node.value, ast.Name)
        and all(isinstance(target, ast.Name) for target in other.node.targets)
    )
