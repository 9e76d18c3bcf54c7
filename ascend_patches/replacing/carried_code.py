"""Make carried code: upstream's definition, compiled in the namespace of the module that it belongs to.

A definition of a class is compiled inside a class statement of the same name whose metaclass hands out what the body
defines and gives ``super()`` the real class; so names, mangling, decorators, properties and defaults are as upstream's.
The code keeps its file and its lines, by which tracebacks and ``inspect.getsource`` find it.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from ascend_patches.declaring.carried import Carried
from ascend_patches.declaring.target import Target
from ascend_patches.errors import TargetError
from ascend_patches.replacing import carried_module, class_bases
from ascend_patches.replacing.find import ABSENT, Found, find, owner_of
from ascend_patches.upstream.fingerprints import parse

_WRAPS: dict[str, Callable[[Any], Any]] = {
    "": lambda value: value,
    "staticmethod": staticmethod,
    "classmethod": classmethod,
}
_CAPTURE = "__ascend_patches_capture__"


def find_carried(rewrite: Carried) -> Found:
    """Where carried code goes; TargetError where the release is not as it has to be."""
    if rewrite.kind == "module":
        return carried_module.find_place(rewrite)
    if rewrite.kind == "bases":
        return class_bases.find_class(rewrite)
    if rewrite.kind == "fields":
        # Imported for a change that adds fields: dataclasses and copy bring much along.
        from ascend_patches.replacing import class_fields

        return class_fields.find_fields(rewrite)
    module = sys.modules[rewrite.module]
    if rewrite.kind == "function":
        found = find(rewrite.target, module)
        if found.inherited:
            raise TargetError(f"{rewrite.target}: the class only inherits it, and the change was made to its own")
        return found
    owner, name = owner_of(rewrite.target, module)
    there = owner.__dict__.get(name, ABSENT)
    if rewrite.kind == "added" and there is not ABSENT:
        raise TargetError(f"{rewrite.target}: the change adds this name, and it is there already")
    if rewrite.kind == "value" and there is ABSENT:
        raise TargetError(f"{rewrite.target}: there is no such name")
    return Found(owner, name, there, there is ABSENT)


def make(rewrite: Carried, found: Found, made: Mapping[Target, Any] = MappingProxyType({})) -> Any:
    """What is to stand at a target. ``made`` is what goes in place together with it, and is not there yet."""
    if rewrite.kind == "module":
        return carried_module.make(rewrite, made)
    if rewrite.kind == "bases":
        return class_bases.make(rewrite, found, made)
    if rewrite.kind == "fields":
        from ascend_patches.replacing import class_fields

        return class_fields.make(rewrite, found, made)
    namespace = sys.modules[rewrite.home].__dict__
    if rewrite.kind == "alias":
        target = Target(f"{rewrite.home}:{rewrite.value}")
        return made[target] if target in made else _named(rewrite, namespace)
    try:
        with open(rewrite.file, encoding="utf-8") as stream:
            tree = parse(stream.read())
    except (OSError, SyntaxError) as error:
        raise TargetError(f"{rewrite.target}: its code cannot be read: {error}") from None
    if rewrite.kind == "value":
        _refuse_another_value(rewrite, namespace, found)
    value = _defined(rewrite, tree, namespace, found.owner, made)
    set_name = getattr(type(value), "__set_name__", None)
    if set_name is not None and isinstance(found.owner, type):
        set_name(value, found.owner, found.name)
    return value


class _Body(dict[str, Any]):
    """The namespace of a class body that also sees what the real class has, and what is to come in its module."""

    def __init__(self, owner: Any, coming: Mapping[str, Any], **names: Any) -> None:
        super().__init__(**names)
        self._owner = owner
        self._coming = coming

    def __missing__(self, name: str) -> Any:
        names = vars(self._owner)
        return names[name] if name in names else self._coming[name]


class _Capture:
    """A metaclass that makes no class: it keeps what the body defines, and answers with the real class."""

    def __init__(self, owner: Any, coming: Mapping[str, Any]) -> None:
        self.owner = owner
        self.coming = coming
        self.body: dict[str, Any] | None = None

    def __prepare__(self, name: str, bases: tuple[type, ...]) -> _Body:
        return _Body(self.owner, self.coming, **{_CAPTURE: self})

    def __call__(self, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> Any:
        if self.body is None:  # the innermost class is the one that is wanted, and the first to be whole
            self.body = body
        cell = body.get("__classcell__")
        if cell is not None:
            cell.cell_contents = self.owner
        return self.owner


def _defined(
    rewrite: Carried, tree: ast.Module, namespace: dict[str, Any], owner: Any, made: Mapping[Target, Any]
) -> Any:
    """Execute one statement of the carried file, and return what it binds."""
    *classes, name = rewrite.path.split(".")
    statement = _statement(tree.body, classes, name)
    if statement is None:
        raise TargetError(f"{rewrite.target}: {rewrite.file} does not define it")
    imported = _imported_together(rewrite, statement, name, made)
    if imported in made:
        return made[imported]
    coming = {target.path: value for target, value in made.items() if target.module == rewrite.home}
    for class_name in reversed(classes):
        around = ast.parse(f"class {class_name}(metaclass={_CAPTURE}): pass").body[0]
        assert isinstance(around, ast.ClassDef)
        around.body = [statement]
        statement = around
    future = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    module = ast.fix_missing_locations(ast.Module(body=[*future, statement], type_ignores=[]))
    capture = _Capture(owner, coming)
    local: dict[str, Any] = {**coming, _CAPTURE: capture}
    local.pop(name, None)
    exec(compile(module, rewrite.file, "exec", dont_inherit=True), namespace, local)
    values = capture.body or {} if classes else local
    if name not in values:
        raise TargetError(f"{rewrite.target}: its code does not bind {name}")
    return values[name]


def _imported_together(rewrite: Carried, statement: ast.stmt, name: str, made: Mapping[Target, Any]) -> Target:
    """The target that an import takes, which may be going in place in the same step."""
    if isinstance(statement, ast.ImportFrom):
        package = sys.modules[rewrite.home].__dict__.get("__package__") or ""
        parts = package.split(".")
        source = ".".join(
            [*parts[: len(parts) - statement.level + 1], *([statement.module] if statement.module else [])]
        )
        source = source if statement.level else statement.module or ""
        for alias in statement.names:
            if (alias.asname or alias.name) == name:
                return Target(f"{source}:{alias.name}")
    return Target("")


def _statement(body: list[ast.stmt], classes: list[str], name: str) -> ast.stmt | None:
    """The statement of a file that binds a name, in a row of classes."""
    for class_name in classes:
        inner = next((node for node in body if isinstance(node, ast.ClassDef) and node.name == class_name), None)
        if inner is None:
            return None
        body = inner.body
    return next((node for node in body if name in _bound_by(node)), None)


def _bound_by(node: ast.stmt) -> list[str]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [alias.asname or alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return [target.id for target in targets if isinstance(target, ast.Name)]
    return []


def _named(rewrite: Carried, namespace: dict[str, Any]) -> Any:
    """What an alias leads to, looked up and not called."""
    wrap, _, inner = rewrite.value.rstrip(")").rpartition("(")
    first, *rest = inner.split(".")
    value = namespace.get(first, ABSENT)
    for part in rest:
        owners = value.__mro__ if isinstance(value, type) else (value,)
        value = next((vars(each)[part] for each in owners if part in getattr(each, "__dict__", {})), ABSENT)
    if value is ABSENT:
        raise TargetError(f"{rewrite.target}: {rewrite.home} has no {rewrite.value}")
    return _WRAPS[wrap](value)


def _refuse_another_value(rewrite: Carried, namespace: dict[str, Any], found: Found) -> None:
    """A value is replaced only where it is what the release's own statement gives."""
    before = Carried(rewrite.target, rewrite.file, "added", home=rewrite.home)
    was = _defined(before, parse(_indented(rewrite)), namespace, found.owner, {})
    if was is not found.value and (type(was) is not type(found.value) or was != found.value):
        raise TargetError(f"{rewrite.target}: is {found.value!r:.80}, and the change was made to {was!r:.80}")


def _indented(rewrite: Carried) -> str:
    """The release's statement inside the classes of its target."""
    *classes, _ = rewrite.path.split(".")
    heads = [f"{'  ' * depth}class {name}:" for depth, name in enumerate(classes)]
    return "\n".join([*heads, f"{'  ' * len(classes)}{rewrite.was.strip()}"])
