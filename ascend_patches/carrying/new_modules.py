"""A module that a change adds: what it may do when it runs, and what it puts into other modules and classes.

Its code runs once, when the patch goes in place, as an import would have run it. What it assigns to attributes of
others is taken out of its text and put in place by the patch, so that a revert puts back what was there.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from ascend_patches.carrying.change import module_of
from ascend_patches.carrying.class_making import makes_more_than_a_class
from ascend_patches.carrying.decorators import undecorable
from ascend_patches.carrying.inventory import FunctionNode, Item, inventory, is_text, statements
from ascend_patches.carrying.release_code import Code
from ascend_patches.carrying.release_names import Surroundings
from ascend_patches.carrying.results import Definition
from ascend_patches.carrying.usage import Usage, dotted, imports_of, named_value, usage

_QUIET = frozenset(
    {
        *("init_logger", "logging.getLogger", "getattr", "hasattr", "isinstance", "issubclass", "len", "min", "max"),
        *("int", "float", "str", "bool", "tuple", "list", "dict", "set", "frozenset", "range", "object", "type"),
        *("re.compile", "TypeVar", "os.getenv", "os.environ.get", "os.path.join", "os.path.dirname", "Path"),
        *("staticmethod", "classmethod", "property", "partial", "functools.partial", "vllm_version_is"),
        *("NamedTuple", "namedtuple", "collections.namedtuple", "NewType", "threading.Lock", "threading.RLock"),
        *("field", "dataclasses.field", "ctypes.c_int", "auto", "enum.auto"),
    }
)
"""What may be called while a module runs: it changes nothing that a revert would have to change back."""


class Put(NamedTuple):
    """``a.b = value`` of a module: what it puts where, and the lines of its text."""

    place: str
    value: str
    lines: tuple[int, int]

    @property
    def text(self) -> str:
        return f"{self.place} = {self.value}"


def puts(tree: ast.Module) -> list[Put]:
    """What a module assigns to attributes of others, statement by statement of its own."""
    own = {node.name for node in tree.body if isinstance(node, (*FunctionNode, ast.ClassDef))}
    found = []
    for node in tree.body:
        kept = _kept_original(node)
        statement = kept if kept is not None else node
        put = _put(statement)
        if put is not None and put[0].partition(".")[0] not in own:
            found.append(Put(*put, (node.lineno, node.end_lineno or node.lineno)))
    return found


def without_puts(text: str) -> str:
    """A module's text as it runs: what the patch puts in place is a comment in it, on the same lines."""
    lines = text.split("\n")
    for put in puts(ast.parse(text)):
        for number in range(put.lines[0] - 1, put.lines[1]):
            lines[number] = f"# {lines[number]}"
    return "\n".join(lines)


def refusal(code: Code, module: str, tree: ast.Module) -> str:
    """Why running a module does what cannot be taken back; empty where it does not."""
    own = {node.name for node in tree.body if isinstance(node, (*FunctionNode, ast.ClassDef))}
    put = {each.lines[0] for each in puts(tree)}
    statements = [node for node in tree.body if node.lineno not in put]
    return next((said for node in statements if (said := _loud(code, module, node, own))), "")


def _loud(code: Code, module: str, node: ast.stmt, own: set[str]) -> str:
    """What a statement does besides binding names of its module; empty where that is all."""
    if isinstance(node, FunctionNode):
        return undecorable(node) or _calls([*node.args.defaults, *filter(None, node.args.kw_defaults)])
    if isinstance(node, ast.ClassDef):
        return _loud_class(code, module, node)
    if isinstance(node, ast.ImportFrom):
        return "a star import brings what cannot be seen" if any(each.name == "*" for each in node.names) else ""
    if isinstance(node, (ast.Import, ast.Pass)) or is_text(node):
        return ""
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        return _loud_assignment(node, own)
    if isinstance(node, ast.If):
        inner = [*node.body, *node.orelse]
        return _calls([node.test]) or next((said for each in inner if (said := _loud(code, module, each, own))), "")
    if isinstance(node, ast.Try):
        inner = [*node.body, *node.orelse, *node.finalbody, *(each for one in node.handlers for each in one.body)]
        return next((said for each in inner if (said := _loud(code, module, each, own))), "")
    return f"it does more when it runs than to bind names: {_shown(node)}"


def _loud_class(code: Code, module: str, node: ast.ClassDef) -> str:
    foreign = [text for text in map(ast.unparse, node.decorator_list) if not text.startswith(("dataclass", "final"))]
    if foreign:
        return f"@{foreign[0]} runs when the class is made, and cannot be undone"
    methods = [each for each in node.body if isinstance(each, FunctionNode)]
    said = next((said for each in methods if (said := undecorable(each))), "")
    values = [each.value for each in node.body if isinstance(each, (ast.Assign, ast.AnnAssign)) and each.value]
    return said or _calls(values) or makes_more_than_a_class(code, module, node)


def _loud_assignment(node: ast.Assign | ast.AnnAssign, own: set[str]) -> str:
    for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
        parts = target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]
        for part in parts:
            of_own = isinstance(part, ast.Attribute) and dotted(part).partition(".")[0] in own
            if not isinstance(part, ast.Name) and not of_own:
                return f"it changes what is not its own: {_shown(node)}"
    return _calls([node.value] if node.value is not None else [])


def _calls(values: list[ast.expr]) -> str:
    """A call that may change something; empty where there is none."""
    for value in values:
        for inner in ast.walk(value):
            if isinstance(inner, ast.Call) and dotted(inner.func) not in _QUIET:
                return f"it calls {ast.unparse(inner.func)} when it runs, which may change what cannot be changed back"
            if isinstance(inner, (ast.Await, ast.Yield, ast.YieldFrom, ast.NamedExpr)):
                return f"it runs {_shown(inner)}"
    return ""


def _put(node: ast.stmt) -> tuple[str, str] | None:
    """The place and the value of ``a.b = value``, where the value is a name or a wrapped one."""
    if not isinstance(node, ast.Assign) or len(node.targets) != 1 or not isinstance(node.targets[0], ast.Attribute):
        return None
    place, value = dotted(node.targets[0]), named_value(node.value)
    return (place, value) if place and value else None


def _kept_original(node: ast.stmt) -> ast.stmt | None:
    """``A._original = A.method`` of ``if not hasattr(A, "_original"): ...``, which a first import does."""
    if not isinstance(node, ast.If) or node.orelse or len(node.body) != 1:
        return None
    test, put = node.test, node.body[0]
    asked = test.operand if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not) else None
    if not isinstance(asked, ast.Call) or dotted(asked.func) != "hasattr" or len(asked.args) != 2 or _put(put) is None:
        return None
    owner, name = asked.args
    whole = f"{dotted(owner)}.{ast.literal_eval(name)}" if isinstance(name, ast.Constant) else ""
    return put if isinstance(put, ast.Assign) and dotted(put.targets[0]) == whole else None


def functions(tree: ast.Module) -> Iterator[tuple[ast.stmt, str]]:
    """Every statement of a module that is judged by itself, with the class that it is a method of once it is put."""
    owner = {put.value.partition("(")[2].rstrip(")") or put.value: put.place.rpartition(".")[0] for put in puts(tree)}
    for node in tree.body:
        yield node, owner.get(getattr(node, "name", ""), "")


def judge(definition: Definition, surroundings: Surroundings, fresh: frozenset[str]) -> tuple[list[str], list[str]]:
    """Everything that a new module uses, statement by statement; its functions as methods of what they go to."""
    needs: list[str] = []
    doubts: list[str] = []
    text = inventory(definition.text)
    future = "annotations" in text.future
    for node, owner in functions(text.tree):
        used = Usage(imports=imports_of(node)) if imports_of(node) else usage(node, bool(owner), future)
        if owner:
            others = {each for each in used.attributes if each.name not in fresh or each.root != "self"}
            used = replace(used, attributes=others)
        judged = surroundings.judge(module_of(definition.file), owner, node, used, fresh)
        needs += judged.needs
        doubts += judged.doubts
    return list(dict.fromkeys(needs)), list(dict.fromkeys(doubts))


def imported_by(name: str, definitions: Iterable[Definition]) -> tuple[bool, bool]:
    """Whether anything carried imports a module as soon as it is there, and whether anything does when it is called."""
    at_once = late = False
    for definition in definitions:
        if not definition.is_carried or definition.module == name:
            continue
        package = definition.file.removesuffix(".py").split("/")[:-1]
        for statement in statements(definition.text):
            for node in ast.walk(statement):
                if isinstance(node, (ast.Import, ast.ImportFrom)) and name in _imported(node, package):
                    at_once, late = at_once or node is statement, late or node is not statement
    return at_once, late


def _imported(node: ast.Import | ast.ImportFrom, package: list[str]) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    above = package[: len(package) - node.level + 1] if node.level else []
    source = ".".join([*above, *([node.module] if node.module else [])])
    return {source, *(f"{source}.{alias.name}" for alias in node.names)}


def parts(definition: Definition) -> Iterator[tuple[Definition, Item]]:
    """The functions and classes of a new module, each as if the change had added it to a module of the release."""
    for items in inventory(definition.text).items.values():
        for item in items:
            if item.kind in ("function", "class") and not item.scope:
                one = Definition(f"{definition.module}:{item.path}", definition.file, item.kind, "added")
                one.text = inventory(definition.text).source(item)
                yield one, item


def _shown(node: ast.AST) -> str:
    return f"`{ast.unparse(node).partition(chr(10))[0][:60]}`"
