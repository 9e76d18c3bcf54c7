"""What a change takes away and a release keeps: harmless only where nothing on the release still uses it."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator

from ascend_patches.carrying.inventory import Item
from ascend_patches.carrying.release_code import Code, Module
from ascend_patches.carrying.results import Definition
from ascend_patches.carrying.usage import dotted
from ascend_patches.carrying.using import callers, readers


def still_used(removed: Definition, code: Code, gone: Collection[str]) -> str:
    """A definition that uses what is taken away; empty where nothing does. ``gone`` are the targets taken away."""
    return next((user for user in _users(removed, code) if not _belongs(user, gone)), "")


def _users(removed: Definition, code: Code) -> Iterator[str]:
    name = removed.path.rpartition(".")[2]
    if removed.scope:
        if removed.kind == "function":
            yield from (target for target, _ in callers(code, removed))
        place = code.class_at(removed.module, removed.scope)
        if place is not None:
            yield from readers(code, place, name)
        yield from _asked_for(code, name)
        return
    for path in code.with_word(name):
        module = code.module_at(path)
        if module is None:
            continue
        for item in _items(module):
            for node in ast.walk(item.node):
                if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load):
                    if code.origin(module.name, name) == (removed.module, name):
                        yield f"{module.name}:{item.path}"
                elif (
                    isinstance(node, ast.Attribute)
                    and node.attr == name
                    and (code.module_named(module, dotted(node.value)) == removed.module)
                ):
                    yield f"{module.name}:{item.path}"


def _asked_for(code: Code, name: str) -> Iterator[str]:
    """The functions that have an attribute's name as a text."""
    for path in code.with_word(name):
        module = code.module_at(path)
        for item in _items(module) if module is not None else ():
            if any(isinstance(node, ast.Constant) and node.value == name for node in ast.walk(item.node)):
                assert module is not None
                yield f"{module.name}:{item.path}"


def _items(module: Module) -> Iterator[Item]:
    return (item for items in module.inventory.items.values() for item in items if item.kind not in ("class", "import"))


def _belongs(user: str, gone: Collection[str]) -> bool:
    return any(user == each or user.startswith(f"{each}.") for each in gone)
