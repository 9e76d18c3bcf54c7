"""Functions of a later release as a change: what differs from the release that a team runs."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from ascend_patches.carrying.change import Change, Commit, FileChange, module_of
from ascend_patches.carrying.inventory import Item
from ascend_patches.carrying.release_code import Code, Module
from ascend_patches.carrying.results import Definition
from ascend_patches.carrying.splicing import splice
from ascend_patches.carrying.usage import BUILTINS, usage
from ascend_patches.errors import CarryError


def read(targets: Iterable[str], later: Code, release: Code, name: str) -> Change:
    """The change that brings the targets, and the imports that they need, from a later release.

    A target without a colon is a module: all that differs in its file is the change.
    """
    targets = tuple(targets)
    definitions: list[Definition] = []
    whole: dict[str, FileChange] = {}
    for target in targets:
        module_name, _, path = target.partition(":")
        module = later.module(module_name)
        if not path:
            changed = _file(target, later, release, name)
            whole[changed.path] = changed
            continue
        item = module.inventory.one(path) if module is not None else None
        if module is None or item is None:
            raise CarryError(f"{target}: {name} has no such definition; write package.module:Class.function")
        there = release.module(module_name)
        if there is None:
            raise CarryError(f"{target}: the release to carry it onto has no module {module_name}")
        definitions.append(_definition(module, there, item, path))
        definitions += _imports(module, there, item)
    once = {definition.target: definition for definition in definitions}
    once = {target: definition for target, definition in once.items() if definition.file not in whole}
    files = [FileChange(path, path, release.text(path), text) for path, text in splice(once.values(), release).items()]
    files += whole.values()
    subject = f"{', '.join(targets)} of {name}"
    return Change((Commit("", "", "", subject),), tuple(files), whole=False, source=name)


def _file(target: str, later: Code, release: Code, name: str) -> FileChange:
    """A whole file as it is in the later release, as a change to the release's own."""
    path = later.path_of(target)
    if path is None:
        raise CarryError(f"{target}: {name} has no such module; write package.module, or package.module:Class.function")
    before, after = release.text(path), later.text(path)
    if before == after:
        raise CarryError(f"{target}: {path} is the same in {name} and in the release to carry it onto")
    return FileChange(path, path, before, after)


def _definition(module: Module, there: Module, item: Item, path: str) -> Definition:
    found = Definition(f"{there.name}:{path}", there.path, item.kind, "exact", scope=item.scope)
    found.text = module.inventory.source(item)
    return found


def _imports(module: Module, there: Module, item: Item) -> list[Definition]:
    """The imports of the later module that a definition uses and that the release's module lacks."""
    found = []
    future = "annotations" in module.inventory.future
    for name in sorted(usage(item.node, bool(item.scope), future).globals - BUILTINS - set(there.bound)):
        for bound in module.bound.get(name, [])[:1]:
            if bound.kind == "import" and not bound.conditions and isinstance(bound.node, (ast.Import, ast.ImportFrom)):
                added = Definition(f"{module_of(there.path)}:import {name}", there.path, "import", "added")
                added.text = bound.code
                found.append(added)
    return found
