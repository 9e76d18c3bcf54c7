"""The parts of a module that run while it is imported: all but the bodies of functions that nothing calls then."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

from ascend_patches.carrying.inventory import FunctionNode

_NEVER = ("TYPE_CHECKING", "typing.TYPE_CHECKING", "__name__ == '__main__'")


class Ran(NamedTuple):
    """A node that is evaluated at import, the innermost statement that it is in, and the class around that."""

    node: ast.AST
    statement: ast.stmt
    scope: str


def run_at_import(tree: ast.Module) -> list[Ran]:
    """Every node of a module that is evaluated while the module is imported."""
    return list(_Walk(tree).block(tree.body, ""))


class _Walk:
    def __init__(self, tree: ast.Module) -> None:
        self._functions = {node.name: node for node in _definitions(tree.body) if isinstance(node, FunctionNode)}
        self._classes = {node.name: node for node in _definitions(tree.body) if isinstance(node, ast.ClassDef)}
        self._entered: set[str] = set()

    def block(self, body: list[ast.stmt], scope: str, deep: bool = False) -> Iterator[Ran]:
        for statement in body:
            yield from self._walk(statement, statement, scope, deep)

    def _walk(self, node: ast.AST, statement: ast.stmt, scope: str, deep: bool) -> Iterator[Ran]:
        if isinstance(node, ast.If) and ast.unparse(node.test) in _NEVER:
            yield from self.block(node.orelse, scope, deep)
            return
        if isinstance(node, ast.stmt):
            statement = node
        if isinstance(node, ast.Lambda):
            parts: list[ast.AST] = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
        elif isinstance(node, FunctionNode):
            parts = [*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)]
            parts += node.body if deep else []
            for decorator in node.decorator_list:
                yield from self._entering(decorator.func if isinstance(decorator, ast.Call) else decorator, True)
        elif isinstance(node, ast.ClassDef):
            parts = [*node.decorator_list, *node.bases, *node.keywords]
            for part in parts:
                yield from self._walk(part, statement, scope, deep)
            yield from self.block(node.body, f"{scope}.{node.name}" if scope else node.name, deep)
            return
        else:
            yield Ran(node, statement, scope)
            parts = list(ast.iter_child_nodes(node))
            if isinstance(node, ast.Call):
                yield from self._entering(node.func, False)
        for part in parts:
            yield from self._walk(part, statement, scope, deep)

    def _entering(self, called: ast.expr, deep: bool) -> Iterator[Ran]:
        """The body of a function, or of a constructor, that the module calls itself."""
        name = called.id if isinstance(called, ast.Name) else ""
        if not name or name in self._entered:
            return
        self._entered.add(name)
        function = self._functions.get(name)
        made = self._classes.get(name)
        if function is not None:
            yield from self.block(function.body, "", deep)
        elif made is not None:
            for member in made.body:
                if isinstance(member, FunctionNode) and member.name in CONSTRUCTORS:
                    yield from self.block(member.body, "")


CONSTRUCTORS = ("__init__", "__new__", "__post_init__")


def _definitions(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The functions and classes of a module, those under conditions among them."""
    for node in body:
        if isinstance(node, (*FunctionNode, ast.ClassDef)):
            yield node
        elif isinstance(node, (ast.If, ast.Try, ast.With)):
            for name in ("body", "orelse", "finalbody"):
                yield from _definitions(getattr(node, name, []))
            for handler in getattr(node, "handlers", []):
                yield from _definitions(handler.body)
