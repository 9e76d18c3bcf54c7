"""Imports that are there for what a module does when it runs: they bind a name that nothing uses."""

from __future__ import annotations

import ast

from ascend_patches.carrying.inventory import Inventory, Item
from ascend_patches.carrying.release_code import Code
from ascend_patches.carrying.usage import dotted


def module_run_by(item: Item, text: Inventory, place: str, code: Code) -> str:
    """The module of the release's packages that an import is there to run; empty where its text uses what it binds."""
    alias = item.alias
    if alias is None or _is_used(item, alias, text.tree):
        return ""
    if isinstance(item.node, ast.Import):
        return alias.name if code.is_ours(alias.name) else ""
    module = code.module_at(place)
    if module is None or not isinstance(item.node, ast.ImportFrom):
        return ""
    source = code.absolute(module, item.node)
    named = f"{source}.{alias.name}"
    if code.is_ours(source) and code.path_of(named) is not None:
        return named
    # What else is imported and not used is there for others to import. Of a module of patches nobody does.
    return source if code.is_ours(source) and ".patch." in f"{source}." else ""


def _is_used(item: Item, alias: ast.alias, tree: ast.Module) -> bool:
    name = alias.asname or alias.name
    if "." in name and isinstance(item.node, ast.Import):
        return any(isinstance(node, ast.Attribute) and dotted(node) == name for node in ast.walk(tree))
    return any(
        (isinstance(node, ast.Name) and node.id == name) or (isinstance(node, ast.Constant) and node.value == name)
        for node in ast.walk(tree)
    )
