"""What a module's text defines, item by item: functions, classes, attributes, imports and other statements."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

from ascend_patches.upstream import fingerprints

ItemKind = Literal["function", "class", "attribute", "import", "statement", "module"]
FunctionNode = (ast.FunctionDef, ast.AsyncFunctionDef)
TYPE_CHECKING = "TYPE_CHECKING"


@dataclass(frozen=True, eq=False)
class Item:
    """One thing that a module or a class says, under the path by which it is reached.

    ``conditions`` are the tests and ``try`` blocks around it, outermost first. A class is an item for its header: its
    decorators, bases and keywords; what is in it are items of their own.
    """

    path: str
    kind: ItemKind
    node: ast.stmt
    scope: str
    conditions: tuple[str, ...]
    alias: ast.alias | None = None

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]

    @cached_property
    def code(self) -> str:
        """A fingerprint of the item; docstrings, comments and layout do not count."""
        if self.kind == "import" and self.alias is not None:
            return _import_text(self.node, self.alias)
        if self.kind == "class" and isinstance(self.node, ast.ClassDef):
            return fingerprints.of_node(header(self.node)) or "deep"
        if self.kind == "attribute":
            return fingerprints.of_node(self.node) or "deep"
        return fingerprints.of_node(self.node) or "deep"

    @property
    def first_line(self) -> int:
        decorators = getattr(self.node, "decorator_list", [])
        return int(min([self.node.lineno, *(decorator.lineno for decorator in decorators)]))

    @property
    def last_line(self) -> int:
        return self.node.end_lineno or self.node.lineno

    @property
    def shown(self) -> str:
        """A statement's first line."""
        return self.path.removeprefix("statement ").partition("\n")[0][:80]

    @property
    def for_types_only(self) -> bool:
        return TYPE_CHECKING in self.conditions


class Inventory:
    """All items of one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = text.split("\n")
        self.tree = fingerprints.parse(text)
        self.items: dict[str, list[Item]] = {}
        self.future = tuple(
            alias.name
            for node in self.tree.body
            if isinstance(node, ast.ImportFrom) and node.module == "__future__"
            for alias in node.names
        )
        for item in _items(self.tree.body, "", ()):
            self.items.setdefault(item.path, []).append(item)

    def one(self, path: str) -> Item | None:
        """The only item of a path."""
        found = self.items.get(path, [])
        return found[0] if len(found) == 1 else None

    def class_node(self, path: str) -> ast.ClassDef | None:
        item = self.one(path)
        return item.node if item is not None and isinstance(item.node, ast.ClassDef) else None

    def source(self, item: Item) -> str:
        """An item's own lines."""
        return "\n".join(self.lines[item.first_line - 1 : item.last_line])


@lru_cache(maxsize=2048)
def inventory(text: str) -> Inventory:
    """The inventory of a text; SyntaxError where it is no Python of this interpreter."""
    return Inventory(text)


@lru_cache(maxsize=4096)
def parsed(text: str) -> ast.stmt | None:
    """One definition with its own indentation as a tree."""
    try:
        tree = ast.parse(f"if True:\n{text}" if text[:1].isspace() else text)
    except (SyntaxError, ValueError):
        return None
    body = tree.body
    if text[:1].isspace() and isinstance(body[0], ast.If):
        body = body[0].body
    return body[0] if len(body) == 1 else None


def statements(text: str) -> list[ast.stmt]:
    """The statements of one definition, or of a whole module."""
    one = parsed(text)
    if one is not None:
        return [one]
    try:
        return ast.parse(text).body
    except (SyntaxError, ValueError):
        return []


def header(node: ast.ClassDef) -> ast.ClassDef:
    """A class without what is in it."""
    bare = ast.ClassDef(**{**dict(ast.iter_fields(node)), "body": [ast.Pass()]})
    return ast.copy_location(bare, node)


def _items(body: list[ast.stmt], scope: str, conditions: tuple[str, ...]) -> Iterator[Item]:
    prefix = f"{scope}." if scope else ""
    for index, node in enumerate(body):
        if isinstance(node, FunctionNode):
            yield Item(f"{prefix}{node.name}", "function", node, scope, conditions)
        elif isinstance(node, ast.ClassDef):
            yield Item(f"{prefix}{node.name}", "class", node, scope, conditions)
            yield from _items(node.body, f"{prefix}{node.name}", conditions)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                bound = alias.asname or (
                    alias.name if isinstance(node, ast.ImportFrom) else alias.name.partition(".")[0]
                )
                # Two dotted imports bind one name and bring different modules.
                path = (
                    f"import {prefix}{bound}"
                    if alias.asname or "." not in alias.name
                    else f"import {prefix}{alias.name}"
                )
                if isinstance(node, ast.ImportFrom) and node.module == "__future__":
                    path = f"from __future__ import {alias.name}"
                yield Item(path, "import", node, scope, conditions, alias)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and _names(node):
            for name in _names(node):
                yield Item(f"{prefix}{name}", "attribute", node, scope, conditions)
        elif isinstance(node, ast.If):
            test = TYPE_CHECKING if _is_type_checking(node.test) else ast.unparse(node.test)
            yield from _items(node.body, scope, (*conditions, test))
            if node.orelse:
                yield from _items(node.orelse, scope, (*conditions, f"not ({test})"))
        elif isinstance(node, (ast.Try,)):
            yield from _items(node.body, scope, (*conditions, "try"))
            for handler in node.handlers:
                kind = ast.unparse(handler.type) if handler.type is not None else ""
                yield from _items(handler.body, scope, (*conditions, f"except {kind}"))
            yield from _items(node.orelse, scope, (*conditions, "try"))
            yield from _items(node.finalbody, scope, (*conditions, "finally"))
        elif isinstance(node, ast.Pass) or (index == 0 and is_text(node)):
            continue
        else:
            yield Item(f"statement {prefix}{ast.unparse(node)}", "statement", node, scope, conditions)


def _names(node: ast.Assign | ast.AnnAssign) -> list[str]:
    """The names that an assignment binds, if it binds nothing else."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    found: list[str] = []
    for target in targets:
        parts = target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]
        for part in parts:
            if not isinstance(part, ast.Name):
                return []
            found.append(part.id)
    return found


def is_text(node: ast.stmt) -> bool:
    """Whether a statement is a text that stands alone, as a docstring does."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _import_text(node: ast.stmt, alias: ast.alias) -> str:
    renamed = f" as {alias.asname}" if alias.asname else ""
    if isinstance(node, ast.ImportFrom):
        return f"from {'.' * node.level}{node.module or ''} import {alias.name}{renamed}"
    return f"import {alias.name}{renamed}"
