"""Which code of a release calls a function, or reads an attribute, as far as its text says."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from ascend_patches.carrying.inferring import Inference
from ascend_patches.carrying.inventory import FunctionNode, Item
from ascend_patches.carrying.release_code import ClassPlace, Code, Module
from ascend_patches.carrying.results import Definition
from ascend_patches.carrying.usage import Called, calls_in, dotted

FunctionDef = ast.FunctionDef | ast.AsyncFunctionDef


def callers(code: Code, definition: Definition) -> Iterator[tuple[str, Called]]:
    """Every call that may be one of a definition, with the target that it is in."""
    name = definition.path.rpartition(".")[2]
    place = code.class_at(definition.module, definition.scope) if definition.scope else None
    if name == "__init__":
        if place is not None:
            yield from _constructions(code, place)
        return
    for module, item, call in _calls(code, name):
        if place is None and not definition.scope:
            if not _means_function(code, module, name, call, definition.module):
                continue
        elif "." not in call.callee or not _may_be_of(code, module, item, call.callee.rpartition(".")[0], place):
            continue
        yield f"{module.name}:{item.path}", call


def references(code: Code, definition: Definition) -> Iterator[str]:
    """The functions that use a definition as a value: they pass it on, or keep it."""
    name = definition.path.rpartition(".")[2]
    if name.startswith("__"):
        return  # every class has these, and what names them means none
    place = code.class_at(definition.module, definition.scope) if definition.scope else None
    for path in code.with_word(name):
        module = code.module_at(path)
        if module is None or (definition.scope and name not in module.read):
            continue
        for item in _functions(module):
            called = {id(_called_name(node)) for node in ast.walk(item.node) if isinstance(node, ast.Call)}
            for node in ast.walk(item.node):
                if id(node) in called or not isinstance(getattr(node, "ctx", None), ast.Load):
                    continue
                if not definition.scope and isinstance(node, ast.Name) and node.id == name:
                    if code.origin(module.name, name) == (definition.module, name) and item.path != definition.path:
                        yield f"{module.name}:{item.path}"
                elif (
                    place is not None
                    and isinstance(node, ast.Attribute)
                    and node.attr == name
                    and _may_be_of(code, module, item, dotted(node.value), place)
                ):
                    yield f"{module.name}:{item.path}"


def _called_name(call: ast.Call) -> ast.expr:
    """What a call calls; a kernel is launched as ``kernel[grid](...)``."""
    return call.func.value if isinstance(call.func, ast.Subscript) else call.func


def functions_named(code: Code, name: str, package: str = "", most: int = 0) -> list[tuple[str, Item]]:
    """Every function or method of that name, with the path of its file; none where there are more than ``most``."""
    found = []
    heading = f"def {name}("
    paths = [path for path in code.with_word(heading) if path.startswith(package)]
    # Counted in the text first: to parse hundreds of files takes seconds.
    if most and sum((code.text(path) or "").count(heading) for path in paths) > most:
        return []
    for path in paths:
        module = code.module_at(path)
        if module is not None:
            found += [(path, item) for item in _functions(module) if item.name == name]
    return found


def readers(code: Code, place: ClassPlace, name: str) -> Iterator[str]:
    """The functions that may read an attribute of a class's instances."""
    for path in code.with_word(name):
        module = code.module_at(path)
        if module is None or name not in module.read:
            continue
        for item in _functions(module):
            for node in ast.walk(item.node):
                if not isinstance(node, ast.Attribute) or node.attr != name or not isinstance(node.ctx, ast.Load):
                    continue
                if _may_be_of(code, module, item, dotted(node.value), place):
                    yield f"{module.name}:{item.path}"
                    break


def called_functions(
    code: Code, module_name: str, scope: str, calls: Iterable[Called]
) -> Iterator[tuple[str, str, FunctionDef]]:
    """The functions that calls lead to by a name of the module or of the own class: target, file, function."""
    place = code.class_at(module_name, scope) if scope else None
    for call in sorted(calls, key=lambda each: each.callee):
        root, _, name = call.callee.rpartition(".")
        if root == "self" and place is not None:
            member = code.method(place, name)
            home = code.module(member[0].module) if member is not None else None
            if home is not None and member is not None and isinstance(member[1], FunctionNode):
                yield f"{member[0].target}.{name}", home.path, member[1]
        elif root not in ("self", "cls", "?"):
            origin = _origin(code, module_name, root, name)
            home = code.module(origin[0]) if origin is not None and origin[1] else None
            item = home.inventory.one(origin[1]) if home is not None and origin is not None else None
            if home is not None and item is not None and isinstance(item.node, FunctionNode):
                yield f"{home.name}:{item.path}", home.path, item.node


def _origin(code: Code, module_name: str, root: str, name: str) -> tuple[str, str] | None:
    """Where a function is defined that is called by its name, or by the name of its module and its own."""
    if not root:
        return code.origin(module_name, name)
    first, _, rest = root.partition(".")
    origin = code.origin(module_name, first)
    if origin is None or origin[1]:
        return None
    return code.origin(f"{origin[0]}.{rest}" if rest else origin[0], name)


def _constructions(code: Code, place: ClassPlace) -> Iterator[tuple[str, Called]]:
    """What makes an instance of a class, or of one that inherits how it is made."""
    heirs = [
        each
        for each in code.subclasses(place)
        if (found := code.method(each, "__init__")) is not None and found[0].target == place.target
    ]
    for each in (place, *heirs):
        name = each.path.rpartition(".")[2]
        for module, item, call in _calls(code, name):
            made = code.class_at(module.name, call.callee.partition(".")[0]) if "." not in call.callee else None
            if "." in call.callee or (made is not None and made.target == each.target):
                yield f"{module.name}:{item.path}", call
    for child in code.subclasses(place):
        home, above = code.module(child.module), code.lineage(child)[0][1:]
        maker = next((each for each in above if "__init__" in code.members(each)), None)
        if home is None or maker is None or maker.target != place.target:
            continue
        for item in home.inventory.items.get(f"{child.path}.__init__", []):
            for call in calls_in(item.node):
                if call.callee == "?.__init__":
                    yield f"{home.name}:{item.path}", call


def _calls(code: Code, name: str) -> Iterator[tuple[Module, Item, Called]]:
    """Every call of something of that name, with the function that it is in."""
    ways = (f"{name}(", f"{name}[", f"partial({name}")
    for path in dict.fromkeys(path for way in ways for path in code.with_word(way)):
        module = code.module_at(path)
        if module is None or name not in module.calls:
            continue
        for owner, call in module.calls[name]:
            for item in module.inventory.items.get(owner, []):
                yield module, item, call


def _functions(module: Module) -> Iterator[Item]:
    return (item for items in module.inventory.items.values() for item in items if item.kind == "function")


def _may_be_of(code: Code, module: Module, item: Item, root: str, place: ClassPlace | None) -> bool:
    """Whether ``root`` may be an instance of a class; false only where the text says that it is another thing."""
    if place is None:
        return True
    found = Inference(code, module.name, item.scope, item.node).class_of(root)
    if found is None:
        origin = code.origin(module.name, root.partition(".")[0]) if root and root != "?" else None
        # A module's own function or class is no instance.
        return origin is None or bool(origin[1])
    above, below = ({each.target for each in code.lineage(one)[0]} for one in (place, found))
    return found.target in above or place.target in below


def _means_function(code: Code, module: Module, name: str, call: Called, home: str) -> bool:
    """Whether a call is one of a module's function."""
    if "." not in call.callee:
        return code.origin(module.name, name) == (home, name)
    root = call.callee.rpartition(".")[0].partition(".")[0]
    origin = code.origin(module.name, root)
    return origin is not None and not origin[1] and home.startswith(origin[0])
