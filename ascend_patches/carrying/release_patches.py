"""What a release's own patch modules replace when they are imported, as far as their text says.

vllm-ascend patches vLLM at start. What it replaces is not, in a process, what the text of vLLM says: a carried patch
that relied on that text would never go on, and one that replaced it would undo the release's own patch.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from ascend_patches.carrying.change import module_of
from ascend_patches.carrying.inventory import FunctionNode, Item
from ascend_patches.carrying.ordering import bound_name
from ascend_patches.carrying.release_code import Code, Module
from ascend_patches.carrying.results import Definition
from ascend_patches.carrying.usage import dotted
from ascend_patches.upstream import fingerprints

FunctionDef = ast.FunctionDef | ast.AsyncFunctionDef

_HOPS = 6
_PATCHES = "/patch/"
_SETS_AT_ONCE = re.compile(r"^[A-Za-z_][\w.]*\.\w+ = |^setattr\(", re.MULTILINE)
_BY_NAME = ("importlib.import_module", "import_module", "sys.modules.get")
_FINDABLE_BELOW = (
    *("staticmethod", "classmethod", "property", "abstractmethod", "abc.abstractmethod"),
    *("override", "typing.override", "typing_extensions.override", "torch.no_grad", "torch.inference_mode"),
    *("contextmanager", "contextlib.contextmanager", "functools.lru_cache", "lru_cache", "functools.cache", "cache"),
)


class Replacement(NamedTuple):
    """One assignment of a patch module.

    ``fingerprint`` is that of the function that it puts in place, and empty where that is not known; ``function`` is
    its target. ``always`` is whether it is made whenever the module is imported, ``certain`` whether it is made
    whenever the release is started.
    """

    file: str
    fingerprint: str
    certain: bool
    always: bool = False
    function: str = ""


class Replaced:
    """All that the patch modules of a release replace."""

    def __init__(self, code: Code) -> None:
        self._at: dict[str, list[Replacement]] = {}
        self._somewhere: dict[str, list[Replacement]] = {}
        for path in code.paths():
            if _PATCHES in path or (path.startswith(f"{code.packages[0]}/") and _sets_at_once(code, path)):
                module = code.module_at(path)
                if module is not None:
                    self._note(code, module)

    def of(self, target: str) -> list[Replacement]:
        """What replaces a target, or the class that it belongs to."""
        module, _, path = target.partition(":")
        parts = path.split(".")
        found = list(self._at.get(target, ()))
        for count in range(1, len(parts)):
            whole = self._at.get(f"{module}:{'.'.join(parts[:count])}", ())
            found += [each._replace(fingerprint="") for each in whole]
        if len(parts) == 1:
            found += self._somewhere.get(path, ())
        return list(dict.fromkeys(found))

    def puts(self, function: str) -> list[tuple[str, Replacement]]:
        """The places at which patch modules put a function."""
        return [(place, each) for place, found in self._at.items() for each in found if each.function == function]

    def _note(self, code: Code, module: Module) -> None:
        names = _Names(code, module)
        loaded = _is_loaded_at_start(code, module)
        for statement in names.assignments():
            value = _Value(names, statement)
            places = names.absolute(statement.receiver, statement.inside)
            for place in places:
                target = names.target(f"{place}.{statement.name}")
                if target is not None:
                    always = statement.certain and len(places) == 1
                    made = Replacement(module.path, value.fingerprint, loaded and always, always, value.target)
                    self._at.setdefault(target, []).append(made)
            if not places and _PATCHES in module.path and value.may_be_function:
                self._somewhere.setdefault(statement.name, []).append(Replacement(module.path, "", False))


@lru_cache(maxsize=2)
def replaced_by_release(code: Code) -> Replaced:
    return Replaced(code)


def heed(definition: Definition, replaced: Replaced) -> None:
    """Refuse a carried definition that the release's own patches replace; doubt one that they may replace."""
    if definition.kind != "statement":
        found = replaced.of(f"{module_of(definition.file)}:{bound_name(definition)}")
        others = [each for each in found if each.file != definition.file]
        certain = next((each for each in others if each.certain), None)
        if certain is not None:
            definition.refuse("cannot", f"{certain.file} replaces it when it is imported")
            return
        definition.doubts += [f"{each.file} may replace it" for each in others]
    if definition.kind == "function" and definition.verdict != "added":
        _heed_places(definition, replaced)
    for place in definition.also_at:
        setters = dict.fromkeys(each.file for each in replaced.of(place) if each.file != definition.file)
        definition.doubts += [f"{file} sets {place} as well" for file in setters]


def _heed_places(definition: Definition, replaced: Replaced) -> None:
    """Put a function at no place that its module leaves alone on some devices."""
    for place, put in replaced.puts(definition.target):
        if "." not in place.partition(":")[2]:
            # What a module holds is found by its identity, and replaced where it is there.
            if not put.always:
                definition.also_at = tuple(each for each in definition.also_at if each != place)
        elif not put.always or place not in definition.also_at:
            definition.refuse("cannot", f"{put.file} puts it at {place} too, which may hold another function")
            return


def source_is_there(node: FunctionDef) -> bool:
    """Whether a function can be found in a process below its decorators."""
    return all(ast.unparse(each).partition("(")[0] in _FINDABLE_BELOW for each in node.decorator_list)


class _Assignment(NamedTuple):
    """``receiver.name = value``, or the same by ``setattr``, inside some functions."""

    receiver: ast.expr
    name: str
    value: ast.expr | None
    inside: tuple[FunctionDef, ...]
    certain: bool


class _Names:
    """The names of one patch module, followed to what they mean."""

    def __init__(self, code: Code, module: Module) -> None:
        self.code = code
        self.module = module
        self._run = {
            dotted(node.value.func)
            for node in module.inventory.tree.body
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
        }

    def assignments(self) -> Iterator[_Assignment]:
        return self._in_block(self.module.inventory.tree.body, (), True)

    def _in_block(self, body: list[ast.stmt], inside: tuple[FunctionDef, ...], certain: bool) -> Iterator[_Assignment]:
        for node in body:
            if isinstance(node, FunctionNode):
                run = certain and not inside and node.name in self._run
                if run or _PATCHES in self.module.path:
                    yield from self._in_block(node.body, (*inside, node), run)
                continue
            for receiver, name, value in _set_by(node):
                if dotted(receiver).partition(".")[0] not in ("self", "cls"):
                    yield _Assignment(receiver, name, value, inside, certain)
            sure = certain and isinstance(node, (ast.Try, ast.With))
            yield from self._in_block(getattr(node, "body", []), inside, sure)
            for block in ("orelse", "finalbody"):
                yield from self._in_block(getattr(node, block, []), inside, False)
            for handler in getattr(node, "handlers", []):
                yield from self._in_block(handler.body, inside, False)

    def absolute(self, node: ast.expr, inside: tuple[FunctionDef, ...], hops: int = _HOPS) -> list[str]:
        """The dotted names of what an expression can be; none where that is not known."""
        if isinstance(node, ast.IfExp):
            return [*self.absolute(node.body, inside, hops), *self.absolute(node.orelse, inside, hops)]
        named = _module_by_name(node)
        if named:
            return [named]
        first, _, rest = dotted(node).partition(".")
        if not first or not hops:
            return []
        heads: list[str] = []
        for depth in range(len(inside), 0, -1):
            bound = list(_bound_in(inside[depth - 1], first))
            if bound:
                heads = [name for each in bound for name in self._meant(each, first, inside[:depth], hops)]
                break
        else:
            items = self.module.bound.get(first, [])
            heads = [name for item in items for name in self._meant(_binding(item), first, (), hops)]
        return list(dict.fromkeys(f"{head}.{rest}" if rest else head for head in heads))

    def _meant(
        self, bound: ast.AST | tuple[ast.stmt, ast.alias], name: str, inside: tuple[FunctionDef, ...], hops: int
    ) -> list[str]:
        """What one binding of a name makes of it."""
        if isinstance(bound, tuple):
            node, alias = bound
            if isinstance(node, ast.ImportFrom):
                return [f"{self.code.absolute(self.module, node)}.{alias.name}"]
            return [alias.name if alias.asname else name]
        if isinstance(bound, ast.Assign):
            return self.absolute(bound.value, inside, hops - 1)
        if isinstance(bound, (*FunctionNode, ast.ClassDef)) and not inside:
            return [f"{self.module.name}.{name}"]
        return []

    def target(self, name: str, hops: int = _HOPS) -> str | None:
        """A dotted name as a target of the release; None where it is of another package."""
        parts = name.split(".")
        for count in range(len(parts) - 1, 0, -1):
            module = ".".join(parts[:count])
            if not self.code.is_ours(module) or self.code.path_of(module) is None:
                continue
            *owners, last = parts[count:]
            if not owners:
                return f"{module}:{last}"
            place = self.code.class_at(module, ".".join(owners))
            if place is not None:
                return f"{place.target}.{last}"
            origin = self.code.origin(module, owners[0])
            if origin is not None and not origin[1] and hops:
                return self.target(".".join([origin[0], *parts[count + 1 :]]), hops - 1)
            return f"{module}:{'.'.join([*owners, last])}"
        return None


class _Value:
    """What an assignment puts in place."""

    def __init__(self, names: _Names, statement: _Assignment) -> None:
        value = statement.value
        if isinstance(value, ast.Call) and dotted(value.func) in ("staticmethod", "classmethod") and value.args:
            value = value.args[0]
        self.may_be_function = isinstance(value, (ast.Name, ast.Attribute, ast.Lambda, ast.Call))
        self.target = ""
        self.fingerprint = ""
        node = self._function(names, value, statement.inside) if value is not None else None
        if node is not None and source_is_there(node):
            self.fingerprint = fingerprints.of_node(node) or ""

    def _function(self, names: _Names, value: ast.expr, inside: tuple[FunctionDef, ...]) -> FunctionDef | None:
        for function in reversed(inside):
            bound = list(_bound_in(function, dotted(value)))
            if bound:
                only = bound[0]
                return only if len(bound) == 1 and isinstance(only, FunctionNode) else None
        found = names.absolute(value, ())
        target = names.target(found[0]) if len(found) == 1 else None
        if target is None:
            return None
        module, _, path = target.partition(":")
        origin = names.code.origin(module, path) if "." not in path else (module, path)
        home = names.code.module(origin[0]) if origin is not None and origin[1] else None
        item = home.inventory.one(origin[1]) if home is not None and origin is not None else None
        if home is None or item is None or not isinstance(item.node, FunctionNode):
            return None
        self.target = f"{home.name}:{item.path}"
        return item.node


def _sets_at_once(code: Code, path: str) -> bool:
    """Whether a module outside the patches sets attributes of others as soon as it is imported."""
    return _SETS_AT_ONCE.search(code.text(path) or "") is not None


def _is_loaded_at_start(code: Code, module: Module) -> bool:
    """Whether the package of a patch module imports it on every device and release."""
    package, _, name = module.name.rpartition(".")
    parent = code.module(package)
    if parent is None or _PATCHES not in module.path:
        return False
    if module.is_package:
        return True
    items = [item for items in parent.inventory.items.values() for item in items if item.kind == "import"]
    for item in items:
        assert item.alias is not None
        whole = item.alias.name
        if isinstance(item.node, ast.ImportFrom):
            whole = f"{code.absolute(parent, item.node)}.{item.alias.name}"
            if code.absolute(parent, item.node) == f"{package}.{name}":
                whole = module.name
        if whole == module.name and not item.conditions:
            return True
    return False


def _set_by(node: ast.stmt) -> Iterator[tuple[ast.expr, str, ast.expr | None]]:
    """The attributes that a statement sets, each with what it belongs to and what it is set to."""
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            if isinstance(target, ast.Attribute):
                yield target.value, target.attr, node.value
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and dotted(node.value.func) == "setattr":
        arguments = node.value.args
        if len(arguments) == 3 and isinstance(arguments[1], ast.Constant) and isinstance(arguments[1].value, str):
            yield arguments[0], arguments[1].value, arguments[2]


def _module_by_name(node: ast.expr) -> str:
    """The module that is asked for by its name: ``import_module("name")``, ``sys.modules["name"]``."""
    name: ast.expr | None = None
    if isinstance(node, ast.Subscript) and dotted(node.value) == "sys.modules":
        name = node.slice
    elif isinstance(node, ast.Call) and node.args and dotted(node.func) in _BY_NAME:
        name = node.args[0]
    return name.value if isinstance(name, ast.Constant) and isinstance(name.value, str) else ""


def _binding(item: Item) -> ast.AST | tuple[ast.stmt, ast.alias]:
    return (item.node, item.alias) if item.alias is not None else item.node


def _bound_in(function: FunctionDef, name: str) -> Iterator[ast.AST | tuple[ast.stmt, ast.alias]]:
    """What binds a name in a function itself, and not in the functions in it."""
    arguments = function.args
    given = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    yield from (each for each in given if each is not None and each.arg == name)
    for node in fingerprints.statements(function.body):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                if (alias.asname or alias.name.partition(".")[0]) == name:
                    yield node, alias
        elif isinstance(node, (*FunctionNode, ast.ClassDef)):
            if node.name == name:
                yield node
        elif isinstance(node, ast.Assign):
            if any(isinstance(each, ast.Name) and each.id == name for each in node.targets):
                yield node
        elif isinstance(node, (ast.For, ast.AsyncFor)) and name in _names_in(node.target):
            yield node.target


def _names_in(node: ast.expr) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
