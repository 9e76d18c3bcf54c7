"""The release's files with carried definitions in them, each where upstream has it."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import NamedTuple

from ascend_patches.carrying.further_bases import end_of_header
from ascend_patches.carrying.inventory import Inventory, inventory
from ascend_patches.carrying.release_code import Code
from ascend_patches.carrying.results import Definition


class _Edit(NamedTuple):
    first: int
    last: int
    text: str


def splice(definitions: Iterable[Definition], code: Code) -> dict[str, str]:
    """The text of every file that something is carried into."""
    by_file: dict[str, list[Definition]] = {}
    for definition in definitions:
        if definition.is_carried:
            by_file.setdefault(definition.file, []).append(definition)
    return {path: _spliced(code.text(path) or "", each) for path, each in sorted(by_file.items())}


def _spliced(text: str, definitions: list[Definition]) -> str:
    whole = next((each.text for each in definitions if each.kind == "module"), None)
    if whole is not None:  # what it puts elsewhere stands in its text
        return whole
    there = inventory(text)
    lines = text.split("\n")
    edits = [_edit(definition, there) for definition in definitions]
    for edit in sorted(edits, key=lambda each: (each.first, each.last), reverse=True):
        lines[edit.first - 1 : edit.last] = edit.text.split("\n")
    return "\n".join(lines)


def _edit(definition: Definition, there: Inventory) -> _Edit:
    items = there.items.get(definition.path, [])
    if definition.kind == "statement":
        return _Edit(len(there.lines) + 1, len(there.lines), definition.text)
    if items and definition.kind == "class":
        return _Edit(items[0].first_line, end_of_header(items[0], there), definition.text.rpartition("\n")[0])
    if items and definition.kind != "import":
        return _Edit(items[0].first_line, items[0].last_line, definition.text)
    if definition.kind == "import":
        line = _after_imports(there)
        return _Edit(line + 1, line, definition.text)
    if definition.scope:
        node = there.class_node(definition.scope)
        line = (node.end_lineno or node.lineno) if node is not None else len(there.lines)
        return _Edit(line + 1, line, f"\n{definition.text}")
    if definition.kind == "attribute":
        line = _after_imports(there)
        return _Edit(line + 1, line, definition.text)
    line = len(there.lines)
    return _Edit(line + 1, line, f"\n\n{definition.text}\n")


def _after_imports(there: Inventory) -> int:
    """The last line of the imports at the top of a module."""
    last = 0
    for node in there.tree.body:
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, (ast.Import, ast.ImportFrom)) or (is_text and not last):
            last = node.end_lineno or node.lineno
        elif not isinstance(node, (ast.Import, ast.ImportFrom)) and last and not is_text:
            break
    return last
