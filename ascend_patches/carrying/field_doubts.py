"""Code of a release that a further field of a dataclass changes: it asks for it, sets it, or goes over all fields.

What upstream's own file has as well sees the field there too, and is upstream's doing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache

from ascend_patches.carrying.inventory import Inventory
from ascend_patches.carrying.release_code import ClassPlace, Code
from ascend_patches.carrying.usage import dotted

_ASKING = ("getattr", "hasattr", "setattr", "delattr")
_GOING_OVER = ("asdict", "astuple", "fields", "vars")


def doubts(name: str, place: ClassPlace, release: Code, upstream: Code | None) -> Iterator[str]:
    """Doubts about a field that the release's own code would see, each in a sentence."""
    package = f"{place.module.partition('.')[0]}/"
    owner = place.path.rpartition(".")[2]
    for path in dict.fromkeys((*release.with_word(name), *release.with_word(owner))):
        module = release.module_at(path) if path.startswith(package) else None
        if module is None:
            continue
        text = upstream.text(path) if upstream is not None else None
        known = _statements(text) if text else frozenset()
        about = owner in module.inventory.text
        for node, around in _with_statements(module.inventory):
            what = _sees(node, name, about)
            statement = ast.unparse(around) if what else ""
            if what and statement not in known:
                first = statement.partition("\n")[0]
                yield f"{module.name} {what}: `{first if len(first) <= 90 else first[:87] + '...'}`"


def _sees(node: ast.AST, name: str, about: bool) -> str:
    """What a node does that the field changes; ``about`` says whether its file names the class."""
    if isinstance(node, ast.Attribute) and node.attr == name and not isinstance(node.ctx, ast.Load) and about:
        return f"sets an attribute {name} of its own" if dotted(node.value) not in ("self", "cls") else ""
    if not isinstance(node, ast.Call):
        return ""
    called = dotted(node.func).rpartition(".")[2]
    if called in _ASKING and len(node.args) > 1:
        asked = node.args[1]
        if isinstance(asked, ast.Constant) and asked.value == name:
            return f"asks whether something has {name}, which has it now"
    if about and called in _GOING_OVER and node.args:
        return "goes over the fields of something, of which there is one more now"
    return ""


def _with_statements(text: Inventory) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Every attribute and call with the innermost statement that it is in."""
    waiting: list[tuple[ast.AST, ast.AST]] = [(text.tree, text.tree)]
    while waiting:
        node, statement = waiting.pop()
        statement = node if isinstance(node, ast.stmt) else statement
        if isinstance(node, (ast.Attribute, ast.Call)):
            yield node, statement
        waiting += [(each, statement) for each in ast.iter_child_nodes(node)]


@lru_cache(maxsize=64)
def _statements(text: str) -> frozenset[str]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return frozenset()
    return frozenset(ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.stmt))
