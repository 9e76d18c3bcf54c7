"""What the modules of a release do with a definition while they are imported: they hold it, call it, read its value.

What is replaced later does not reach what was taken then. A name that is another name for a function of a module is
found by identity and follows; a plain assignment to an attribute of a class can be made again; nothing else can.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

from ascend_patches.carrying.at_import import CONSTRUCTORS
from ascend_patches.carrying.inventory import FunctionNode
from ascend_patches.carrying.release_code import ClassPlace, Code, Module
from ascend_patches.carrying.usage import dotted

_DEPTH = 3


class Use(NamedTuple):
    """One place at which a module uses a definition while it is imported."""

    module: Module
    statement: ast.stmt
    node: ast.expr
    scope: str

    @property
    def shown(self) -> str:
        return ast.unparse(self.statement).partition("\n")[0][:60]

    @property
    def is_call(self) -> bool:
        return any(
            (isinstance(each, ast.Call) and each.func is self.node)
            or (isinstance(each, (*FunctionNode, ast.ClassDef)) and self.node in each.decorator_list)
            for each in ast.walk(self.statement)
        )

    @property
    def stands_in_module(self) -> bool:
        """Whether its statement is one of the module itself, and not of a function that the module calls."""
        items = self.module.inventory.items.values()
        return any(item.node is self.statement for each in items for item in each)

    @property
    def is_name(self) -> bool:
        """Whether it is ``alias = function`` in a module."""
        statement = self.statement
        return (
            not self.scope
            and isinstance(statement, ast.Assign)
            and statement.value is self.node
            and all(isinstance(target, ast.Name) for target in statement.targets)
            and self.stands_in_module
        )


def uses(code: Code, module: str, path: str) -> Iterator[Use]:
    """Every use of a definition while modules are imported, but as a base of a class."""
    scope, _, name = path.rpartition(".")
    for file in _files(code, module, scope, name):
        user = code.module_at(file)
        if user is None:
            continue
        names = _names_for(code, user, module, name) if not scope else set()
        for node, statement, inside in user.at_import:
            if isinstance(statement, ast.ClassDef) and node in statement.bases:
                continue
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                if node.id in names or (scope and (user.name, inside, node.id) == (module, scope, name)):
                    yield Use(user, statement, node, inside)
            elif isinstance(node, ast.Attribute) and node.attr == name and _leads_to(code, user, node, module, scope):
                yield Use(user, statement, node, inside)


def calls(code: Code, module: str, path: str, depth: int = _DEPTH) -> Iterator[Use]:
    """Where the import of some module runs a function: by a call, through its callers, by making an instance."""
    scope, _, name = path.rpartition(".")
    home = code.module(module)
    if home is None or not depth:
        return
    if scope:
        if name in CONSTRUCTORS or name in _called_by_constructors(home, scope):
            for place in (code.class_at(module, scope), *_heirs(code, module, scope)):
                if place is not None:
                    yield from (use for use in uses(code, place.module, place.path) if use.is_call)
        return
    yield from (use for use in uses(code, module, path) if use.is_call)
    for caller in callers_in(home, name):
        if caller != path:
            yield from calls(code, module, caller, depth - 1)


def users(home: Module, name: str) -> list[str]:
    """The functions of a module that use one of its names."""
    return [
        item.path
        for items in home.inventory.items.values()
        for item in items
        if item.kind == "function"
        and any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(item.node))
    ]


def callers_in(home: Module, name: str) -> list[str]:
    """The functions of a module that call one of its functions."""
    return list(dict.fromkeys(path for path, call in home.calls.get(name, []) if call.callee == name))


def _files(code: Code, module: str, scope: str, name: str) -> list[str]:
    """The files that can use a definition; a method is reached by the name of its class, or of one that inherits it."""
    if not scope:
        return code.with_word(name)
    owners = [scope.rpartition(".")[2], *(each.path.rpartition(".")[2] for each in _heirs(code, module, scope))]
    found = dict.fromkeys(
        path
        for owner in dict.fromkeys(owners)
        for path in code.with_word(owner)
        if f".{name}" in (code.text(path) or "")
    )
    own = code.path_of(module)
    return list(found if own is None else dict.fromkeys([own, *found]))


def _heirs(code: Code, module: str, scope: str) -> list[ClassPlace]:
    place = code.class_at(module, scope)
    return list(code.subclasses(place)) if place is not None else []


def _names_for(code: Code, user: Module, module: str, name: str) -> set[str]:
    """What a module calls a definition."""
    found = set()
    for bound, items in user.bound.items():
        imported = any(each.alias is not None and each.alias.name == name for each in items)
        if (user.name, bound) == (module, name) or (imported and code.origin(user.name, bound) == (module, name)):
            found.add(bound)
    for star in user.stars:
        if star == module:
            found.add(name)
    return found


def _leads_to(code: Code, user: Module, node: ast.Attribute, module: str, scope: str) -> bool:
    root = dotted(node.value)
    if not root or not isinstance(node.ctx, ast.Load):
        return False
    if not scope:
        return code.module_named(user, root) == module
    place = code.class_named(user.name, node.value)
    found = code.method(place, node.attr) if place is not None else None
    return found is not None and found[0].target == f"{module}:{scope}"


def _called_by_constructors(home: Module, scope: str) -> set[str]:
    """The methods of a class that its constructor calls on the new instance, directly or not."""
    found: set[str] = set()
    waiting = list(CONSTRUCTORS)
    while waiting:
        for item in home.inventory.items.get(f"{scope}.{waiting.pop()}", []):
            for node in ast.walk(item.node):
                if isinstance(node, ast.Call) and dotted(node.func).startswith("self."):
                    name = dotted(node.func).removeprefix("self.")
                    if "." not in name and name not in found:
                        found.add(name)
                        waiting.append(name)
    return found
