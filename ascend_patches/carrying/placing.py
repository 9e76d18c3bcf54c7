"""What a module of patches puts into other modules and classes, and what the release has there."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from ascend_patches.carrying import call_fit, captures
from ascend_patches.carrying.inventory import FunctionNode, Item
from ascend_patches.carrying.release_code import Code, Module
from ascend_patches.carrying.results import Definition
from ascend_patches.carrying.usage import WRAPS, dotted, named_value

FunctionDef = ast.FunctionDef | ast.AsyncFunctionDef
_PATCHES = "/patch/"


def place(definition: Definition, item: Item, code: Code, layered: Code, file: str) -> None:
    """Carry ``a.b = value``, or say why not; ``layered`` is the release with the change's own text of the file."""
    module = layered.module_at(file)
    target = captures.assigned_to(layered, module, item.node) if module is not None else None
    assert isinstance(item.node, ast.Assign)
    if module is None or target is None:
        definition.refuse("cannot", f"module code that has run: {item.shown}")
        return
    if not code.is_ours(target.partition(":")[0]) or code.path_of(target.partition(":")[0]) is None:
        definition.refuse("cannot", f"it sets {target}, which is not of the release's packages")
        return
    value = _name_of(item.node.value)
    source = captures.place_of(layered, module, value) if "." in value else f"{module.name}:{value}"
    if source is None or (code.is_ours(source.partition(":")[0]) and not _at(layered, source)):
        definition.refuse("cannot", f"needs {value}, which the release does not have")
        return
    definition.refuse("added", "")
    definition.text, definition.also_at, definition.target = ast.unparse(item.node), (target,), target
    definition.doubts += dict.fromkeys(_doubts(target, item.node, code, layered, module))


def function_at(code: Code, target: str) -> FunctionDef | None:
    """The one function that a target leads to on the release; None where there is none, or several."""
    found = _at(code, target)
    return found[0] if len(found) == 1 and isinstance(found[0], FunctionNode) else None


def _at(code: Code, target: str) -> list[ast.AST]:
    """All that the release has at a target, inherited or imported."""
    module, _, path = target.partition(":")
    scope, _, name = path.rpartition(".")
    if not scope:
        return [item.node for item in code.lookup(module, name) or []]
    owner = code.class_at(module, scope)
    found = code.method(owner, name) if owner is not None else None
    return list(code.members(found[0])[name]) if found is not None else []


def _doubts(target: str, node: ast.Assign, code: Code, layered: Code, module: Module) -> Iterator[str]:
    name = target.rpartition(":")[2].rpartition(".")[2]
    there = _at(code, target)
    if not there:
        if not _is_read(layered, name, module):
            yield f"nothing on the release has or reads {target}"
        return
    ours = _value(layered, module, node.value)
    if len(there) > 1 or not isinstance(there[0], FunctionNode):
        # Nothing shows that a class of another release would do as what it takes the place of.
        yield f"it takes the place of {target}, which is no function, or not one alone"
    elif ours is None:
        yield f"it puts at {target} what its text does not show to be a function"
    else:
        in_class = "." in target.partition(":")[2]
        yield from _other_nature(target, there[0], ours, node.value, in_class)
    yield from _taken_by_patches(code, target, module)


def _other_nature(target: str, there: FunctionDef, ours: FunctionDef, value: ast.expr, in_class: bool) -> Iterator[str]:
    decorators = {ast.unparse(each) for each in there.decorator_list} & {*WRAPS, "property"}
    wrapped = {dotted(value.func)} if isinstance(value, ast.Call) else set()
    own = {ast.unparse(each) for each in ours.decorator_list} & {*WRAPS, "property"}
    if decorators != wrapped | own:
        yield f"it puts another kind of method at {target}"
    passes_on = ours.args.vararg is not None and ours.args.kwarg is not None
    if not passes_on and len({_names(call_fit.parameters(each), in_class) for each in (there, ours)}) > 1:
        yield f"it takes other parameters than {target}, the place of which it takes"
    if isinstance(there, ast.AsyncFunctionDef) != isinstance(ours, ast.AsyncFunctionDef):
        yield f"only one of it and {target} is asynchronous"


def _names(parameters: str, in_class: bool) -> str:
    """Parameters; in a class without the name of the first, which is never given by name."""
    if not in_class:
        return parameters
    head, _, rest = parameters.partition(":")
    _, _, others = rest.partition(",")
    return f"{head}:{others}" if others else rest.partition("=")[2]


def _value(layered: Code, module: Module, value: ast.expr) -> FunctionDef | None:
    """The function that a value is."""
    name = _name_of(value)
    if "." in name:
        found = captures.place_of(layered, module, name)
        return function_at(layered, found) if found is not None else None
    return function_at(layered, f"{module.name}:{name}")


def _name_of(value: ast.expr) -> str:
    """The name in a value, without what it is wrapped in."""
    text = named_value(value)
    return text.partition("(")[2].rstrip(")") or text


def _is_read(layered: Code, name: str, own: Module) -> bool:
    """Whether any code reads an attribute of that name; of the module that sets it, any function."""
    functions = [item.node for items in own.inventory.items.values() for item in items if item.kind == "function"]
    for node in (inner for function in functions for inner in ast.walk(function)):
        if isinstance(node, ast.Attribute) and node.attr == name and isinstance(node.ctx, ast.Load):
            return True
    modules = [layered.module_at(path) for path in layered.with_word(name)]
    return any(module is not None and module.name != own.name and name in module.read for module in modules)


def _taken_by_patches(code: Code, target: str, own: Module) -> Iterator[str]:
    """The release's patch modules that take what is there when they run, which may be before it is put there."""
    name = target.rpartition(":")[2].rpartition(".")[2]
    for path in code.with_word(name):
        module = code.module_at(path) if _PATCHES in path else None
        if module is None or module.name == own.name:
            continue
        imported = any(
            item.alias is not None and item.alias.name == name and "." not in target.partition(":")[2]
            for items in module.bound.values()
            for item in items
        )
        read = any(
            isinstance(each.node, ast.Attribute) and each.node.attr == name and isinstance(each.node.ctx, ast.Load)
            for each in module.at_import
        )
        if imported or read:
            yield f"{path} takes {target} when it runs, which may be before the patch is in place"
