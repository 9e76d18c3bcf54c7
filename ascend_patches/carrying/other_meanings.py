"""Names that newly carried code uses, and that mean something else on the release than where the change was made."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from ascend_patches.carrying.change import module_of
from ascend_patches.carrying.inferring import Inference
from ascend_patches.carrying.inventory import FunctionNode, Item, parsed
from ascend_patches.carrying.release_code import Code, Module
from ascend_patches.carrying.results import Definition
from ascend_patches.carrying.sides import Sides
from ascend_patches.carrying.usage import BUILTINS, Called, Usage, usage
from ascend_patches.carrying.using import called_functions, functions_named
from ascend_patches.upstream import fingerprints


def other_meanings(
    definition: Definition, pair: Sides, release: Code, upstream: Code, touched: set[str]
) -> Iterator[str]:
    """Doubts about the names that a definition newly uses; what the change itself touches is what it says."""
    node = parsed(definition.text)
    if node is None or definition.kind == "import":
        return
    in_class = bool(definition.scope)
    new = usage(node, in_class)
    for each in (pair.old, pair.release):
        if each is not None:
            new = _without(new, usage(each.node, in_class))
    home = _Sides(release, upstream, definition.module, module_of(pair.upstream_place), touched)
    for name in sorted(new.globals - BUILTINS):
        yield from home.name(name)
    for attribute in sorted(new.attributes, key=lambda each: (each.root, each.name)):
        yield from home.attribute(attribute.root, attribute.name)
    yield from home.calls(definition, node, new.calls)
    for callee, text in sorted(new.compared):
        yield from home.result(callee.rpartition(".")[2], text)


class _Sides:
    """A module on the release, and the one that the change was made to."""

    def __init__(self, release: Code, upstream: Code, module: str, upstream_module: str, touched: set[str]) -> None:
        self.release = release
        self.upstream = upstream
        self.module = module
        self.upstream_module = upstream_module
        self.touched = touched

    def name(self, name: str) -> Iterator[str]:
        here, there = self.release.origin(self.module, name), self.upstream.origin(self.upstream_module, name)
        if here is None or there is None:
            return
        if not self.upstream.is_ours(there[0]) or self.upstream.module(there[0]) is None:
            # Of another package: the release's tree shows what its name leads to.
            there = self.release.origin(*there) or there if there[1] else there
        if here != there and here[1] and there[1]:
            ours, theirs = self._item(self.release, *here), self._item(self.upstream, *there)
            if ours is None or theirs is None or ours.code != theirs.code:
                yield f"{name} is {':'.join(here)} there, and was {':'.join(there)} where the change was made"
        elif here[1]:
            yield from self._value(*here)

    def attribute(self, root: str, name: str) -> Iterator[str]:
        """``module.NAME``: a value of a module."""
        module = self.release.module(self.module)
        target = self.release.module_named(module, root) if module is not None and root else ""
        origin = self.release.origin(target, name) if target and self.release.is_ours(target) else None
        if origin is None or not origin[1]:
            return
        first, _, rest = root.partition(".")
        meant = self.upstream.origin(self.upstream_module, first)
        theirs = ".".join(filter(None, (*meant, rest))) if meant is not None else ""
        if theirs and theirs != target:
            there = self._item(self.upstream, theirs, name)
            here = self._item(self.release, *origin)
            if there is None or here is None or there.code != here.code:
                yield f"{root}.{name} is of {target} there, and was of {theirs} where the change was made"
        else:
            yield from self._value(*origin)

    def _value(self, module: str, name: str) -> Iterator[str]:
        """A constant, which may have had another value."""
        ours, theirs = self._item(self.release, module, name), self._item(self.upstream, module, name)
        if ours is None or theirs is None or ours.kind != "attribute" or f"{module}:{name}" in self.touched:
            return
        if theirs.kind != ours.kind or theirs.code != ours.code:
            yield f"it uses {module}:{name}, which had another value where the change was made"

    def calls(self, definition: Definition, node: ast.stmt, new: set[Called]) -> Iterator[str]:
        for target, path, function in self._called(definition, node, new):
            text = self.upstream.module_at(path)
            there = text.inventory.one(target.partition(":")[2]) if text is not None else None
            if target in self.touched or there is None or not isinstance(there.node, FunctionNode):
                continue
            if there.code != fingerprints.of_node(function):
                yield f"it calls {target}, which was another function where the change was made"

    def result(self, name: str, text: str) -> Iterator[str]:
        """A function whose result is newly compared with a text: those of that name have to be upstream's."""
        package = self.module.partition(".")[0]
        for path in self.release.with_word(f"def {name}(") if name else ():
            home, theirs = self.release.module_at(path), self.upstream.module_at(path)
            if home is None or theirs is None or not path.startswith(f"{package}/"):
                continue
            if functions_by_path(home, name) != functions_by_path(theirs, name):
                yield f"it compares what {name} gives with {text!r}, and {path} had others where the change was made"

    def _called(
        self, definition: Definition, node: ast.stmt, new: set[Called]
    ) -> Iterator[tuple[str, str, ast.FunctionDef | ast.AsyncFunctionDef]]:
        yield from called_functions(self.release, definition.module, definition.scope, new)
        inference = Inference(self.release, definition.module, definition.scope, node)
        for call in sorted(new, key=lambda each: each.callee):
            root, _, name = call.callee.rpartition(".")
            if root in ("", "self", "cls") or name.startswith("__"):
                continue
            place = inference.class_of(root) if root != "?" else None
            if place is not None:
                found = self.release.method(place, name)
                home = self.release.module(found[0].module) if found is not None else None
                if found is not None and home is not None and isinstance(found[1], FunctionNode):
                    yield f"{found[0].target}.{name}", home.path, found[1]
                continue
            named = [(path, item) for path, item in functions_named(self.release, name, most=1) if item.scope]
            if len(named) == 1 and isinstance(named[0][1].node, FunctionNode):
                path, item = named[0]
                yield f"{module_of(path)}:{item.path}", path, named[0][1].node

    def _item(self, code: Code, module: str, name: str) -> Item | None:
        home = code.module(module)
        return home.inventory.one(name) if home is not None else None


def functions_by_path(module: Module, name: str) -> dict[str, str]:
    """The code of every function of a name in a module."""
    listed = [item for items in module.inventory.items.values() for item in items]
    return {item.path: item.code for item in listed if item.kind == "function" and item.name == name}


def _without(new: Usage, known: Usage) -> Usage:
    """What was called before as well fits by its parameters, or is refused for them."""
    left = new - known
    callees = {call.callee for call in known.calls}
    left.calls = {call for call in left.calls if call.callee not in callees}
    return left
