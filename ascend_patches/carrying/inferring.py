"""Of which class an expression is, where annotations and constructors in the text say so."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from ascend_patches.carrying.inventory import FunctionNode
from ascend_patches.carrying.release_code import ClassPlace, Code

_DEPTH = 8
_ABOUT = ("Optional", "Annotated", "Final", "ClassVar", "Type", "type")


class Inference:
    """The classes of names inside one definition."""

    def __init__(self, code: Code, module: str, scope: str, node: ast.stmt) -> None:
        self.code = code
        self.module = module
        self.node = node
        self.place = code.class_at(module, scope) if scope else None

    def class_of(self, dotted: str, depth: int = _DEPTH) -> ClassPlace | None:
        """The class of ``a.b.c``, or None where the text does not say."""
        if not dotted or depth <= 0:
            return None
        first, *rest = dotted.split(".")
        found = self._class_of_name(first, depth)
        for part in rest:
            if found is None:
                return None
            found = member_class(self.code, found, part, depth - 1)
        return found

    def _class_of_name(self, name: str, depth: int) -> ClassPlace | None:
        if name == "self" and self.place is not None:
            return self.place
        if not isinstance(self.node, FunctionNode):
            return None
        return class_of_local(self.code, self.module, self.place, self.node, name, depth)


def class_of_local(
    code: Code,
    module: str,
    place: ClassPlace | None,
    function: ast.FunctionDef | ast.AsyncFunctionDef,
    name: str,
    depth: int,
) -> ClassPlace | None:
    """The class of a parameter or a local name that is bound in one way only."""
    arguments = function.args
    for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
        if argument.arg == name:
            return annotated(code, module, argument.annotation)
    values: list[ast.expr] = []
    for inner in ast.walk(function):
        if isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name) and inner.target.id == name:
            return annotated(code, module, inner.annotation)
        if isinstance(inner, ast.Assign) and any(_binds(target, name) for target in inner.targets):
            if not all(isinstance(target, ast.Name) for target in inner.targets):
                return None
            values.append(inner.value)
        elif (isinstance(inner, (ast.For, ast.comprehension)) and _binds(inner.target, name)) or (
            isinstance(inner, ast.withitem) and inner.optional_vars is not None and _binds(inner.optional_vars, name)
        ):
            return None
    found = {
        each.target: each
        for each in (class_of_value(code, module, place, function, value, depth - 1) for value in values)
        if each is not None
    }
    return next(iter(found.values())) if len(found) == 1 and len(values) == 1 else None


def class_of_value(
    code: Code,
    module: str,
    place: ClassPlace | None,
    function: ast.FunctionDef | ast.AsyncFunctionDef | None,
    value: ast.expr,
    depth: int,
) -> ClassPlace | None:
    """The class of an expression: a constructor's, a function's by its annotation, an attribute's."""
    if depth <= 0:
        return None
    if isinstance(value, ast.Call):
        return _class_of_call(code, module, place, value, depth)
    if isinstance(value, ast.Name):
        if value.id == "self":
            return place
        return class_of_local(code, module, place, function, value.id, depth - 1) if function is not None else None
    if isinstance(value, ast.Attribute):
        inner = class_of_value(code, module, place, function, value.value, depth - 1)
        return member_class(code, inner, value.attr, depth - 1) if inner is not None else None
    return None


def member_class(code: Code, place: ClassPlace, name: str, depth: int) -> ClassPlace | None:
    """The class of an attribute of a class's instances."""
    if depth <= 0:
        return None
    for owner in code.lineage(place)[0]:
        written = code.members(owner).get(name)
        if not written:
            continue
        classes: list[ClassPlace | None] = []
        for node in written:
            if isinstance(node, ast.AnnAssign):
                return annotated(code, owner.module, node.annotation)
            if isinstance(node, FunctionNode):
                is_property = any("property" in ast.unparse(each) for each in node.decorator_list)
                return annotated(code, owner.module, node.returns) if is_property else None
            if isinstance(node, ast.Attribute):
                classes.append(_class_of_store(code, owner, node, depth - 1))
        found = {each.target: each for each in classes if each is not None}
        return next(iter(found.values())) if len(found) == 1 and None not in classes else None
    return None


def annotated(code: Code, module: str, annotation: ast.expr | None) -> ClassPlace | None:
    """The one class that an annotation names, None aside."""
    if annotation is None:
        return None
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            annotation = ast.parse(annotation.value, mode="eval").body
        except SyntaxError:
            return None
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        sides = [side for side in _sides(annotation) if not (isinstance(side, ast.Constant) and side.value is None)]
        return annotated(code, module, sides[0]) if len(sides) == 1 else None
    if isinstance(annotation, ast.Subscript):
        about = ast.unparse(annotation.value).rpartition(".")[2]
        return annotated(code, module, annotation.slice) if about in _ABOUT else None
    if isinstance(annotation, ast.Name):
        return code.class_at(module, annotation.id)
    if isinstance(annotation, ast.Attribute):
        return code.class_named(module, annotation)
    return None


def _class_of_store(code: Code, owner: ClassPlace, node: ast.Attribute, depth: int) -> ClassPlace | None:
    """The class of what a method sets on ``self``."""
    for function in owner.node.body:
        if not isinstance(function, FunctionNode):
            continue
        for inner in ast.walk(function):
            if isinstance(inner, ast.AnnAssign) and inner.target is node:
                return annotated(code, owner.module, inner.annotation)
            if isinstance(inner, ast.Assign) and any(target is node for target in inner.targets):
                return class_of_value(code, owner.module, owner, function, inner.value, depth)
    return None


def _class_of_call(code: Code, module: str, place: ClassPlace | None, call: ast.Call, depth: int) -> ClassPlace | None:
    if isinstance(call.func, ast.Name):
        made = code.class_at(module, call.func.id)
        if made is not None:
            return made
        origin = code.origin(module, call.func.id)
        home = code.module(origin[0]) if origin is not None and origin[1] else None
        item = home.inventory.one(origin[1]) if home is not None and origin is not None else None
        if item is not None and isinstance(item.node, FunctionNode) and home is not None:
            return annotated(code, home.name, item.node.returns)
        return None
    if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
        if call.func.value.id == "self" and place is not None:
            found = code.method(place, call.func.attr)
            if found is not None and isinstance(found[1], FunctionNode):
                return annotated(code, found[0].module, found[1].returns)
        made = code.class_named(module, call.func)
        if made is not None:
            return made
    return None


def _sides(node: ast.expr) -> Sequence[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return [*_sides(node.left), *_sides(node.right)]
    return [node]


def _binds(target: ast.AST, name: str) -> bool:
    return any(isinstance(inner, ast.Name) and inner.id == name for inner in ast.walk(target))
