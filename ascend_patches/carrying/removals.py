"""What a change takes away and a release keeps: harmless only where nothing on the release still uses it."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Sequence

from ascend_patches.carrying import moving
from ascend_patches.carrying.effects import module_run_by
from ascend_patches.carrying.inventory import Inventory, Item
from ascend_patches.carrying.release_code import Code, Module
from ascend_patches.carrying.results import Definition, LeftOut
from ascend_patches.carrying.usage import dotted
from ascend_patches.carrying.using import callers, readers


class Removals:
    """Judges what a change takes away."""

    def __init__(
        self, code: Code, upstream: Code | None, definitions: list[Definition], left_out: list[LeftOut]
    ) -> None:
        self.code = code
        self.upstream = upstream
        self.definitions = definitions
        self.left_out = left_out
        self.kept: list[Definition] = []
        """What the change takes away, and the release keeps."""

    def judge(
        self, definition: Definition, old: Sequence[Item], release: Sequence[Item], before: Inventory, place: str
    ) -> None:
        """What a change takes away stays where nothing can notice it; what is not there need not be taken away."""
        if not release:
            if old[0].kind != "import":
                self.definitions.append(definition)
                self._absent(definition, old[0], before, place)
            return
        if old[0].kind == "import":
            run = next(filter(None, (module_run_by(each, before, place, self.code) for each in old)), "")
            if run:
                definition.refuse("cannot", f"the change no longer runs {run}, and on the release that has run")
                self.definitions.append(definition)
            return
        if old[0].kind == "statement":
            definition.target = f"{definition.module}:{old[0].scope or '(module)'}"
            definition.refuse("cannot", f"module code that has run, and that the change takes away: {old[0].shown}")
            self.definitions.append(definition)
            return
        if old[0].scope:
            found = self.code.class_at(definition.module, old[0].scope)
            if found is not None:
                lineage, outside = self.code.lineage(found)
                if outside or any(old[0].name in self.code.members(each) for each in lineage[1:]):
                    definition.refuse("cannot", "the change takes away an override, and so uncovers what it overrides")
                    self.definitions.append(definition)
                    return
        self.kept.append(definition)
        self.left_out.append(LeftOut(definition.target, "removed", "upstream takes it away; it stays"))

    def _absent(self, definition: Definition, old: Item, before: Inventory, place: str) -> None:
        """What is taken away and is not there has gone, unless the release has it at another place."""
        found = ""
        if old.kind == "function":
            moved = moving.function_like(self.code, old, before, place, self.upstream)
            found = f"{moved[0]}, {moved[1].path}" if moved is not None else ""
        elif old.kind == "class":
            found = next(moving.classes_named(self.code, old, place, self.upstream), "")
        if found:
            definition.refuse("not there", f"the change takes it away, and the release has it elsewhere: {found}")
        else:
            definition.refuse("already there", "the change takes it away, and the release does not have it")

    def still_used(self, carried: Code) -> list[str]:
        """What is taken away, each with something that still uses it on the release with the change in it."""
        gone = {each.target for each in self.kept}
        used = [(each.target, still_used(each, carried, gone)) for each in self.kept]
        return [f"the change takes {target} away, and {user} still uses it" for target, user in used if user]


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
