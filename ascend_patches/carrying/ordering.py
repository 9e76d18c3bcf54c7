"""In which order carried definitions are put in place, and which of them belong together."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from ascend_patches.carrying import call_fit
from ascend_patches.carrying.change import module_of
from ascend_patches.carrying.inventory import FunctionNode, parsed, statements
from ascend_patches.carrying.results import Definition
from ascend_patches.carrying.usage import usage

_RANK = {"module": 0, "import": 0, "attribute": 1, "class": 2, "function": 3, "statement": 5}


def ordered(definitions: Sequence[Definition]) -> list[Definition]:
    """What is added first, each after what it needs while it is made; replaced functions and aliases last."""

    def rank(definition: Definition) -> int:
        return 4 if definition.kind == "function" and definition.verdict != "added" else _RANK[definition.kind]

    waiting = sorted(definitions, key=lambda each: (rank(each), each.file, each.order, each.target))
    done: list[Definition] = []
    while waiting:
        provided = {_provided(each) for each in waiting if each.verdict == "added"}
        free = [each for each in waiting if not (_needed_now(each) & provided) - {_provided(each)}]
        done.append((free or waiting)[0])
        waiting.remove(done[-1])
    return done


def parts(definitions: Sequence[Definition]) -> list[list[Definition]]:
    """Definitions that have to go in place together: those of one file, and those that use each other's news."""
    groups: list[list[Definition]] = []
    for definition in definitions:
        joined = [group for group in groups if any(_belong(definition, each) for each in group)]
        groups = [group for group in groups if group not in joined]
        groups.append([each for group in joined for each in group] + [definition])
    position = {id(definition): index for index, definition in enumerate(definitions)}
    for group in groups:
        group.sort(key=lambda each: position[id(each)])
    return sorted(groups, key=lambda group: position[id(group[0])])


def bound_name(definition: Definition) -> str:
    """The name that a definition binds in its module or class."""
    path = definition.path
    return path.removeprefix("import ").partition(".")[0] if definition.kind == "import" else path


def _provided(definition: Definition) -> tuple[str, str]:
    """The module and the name that a definition binds; of a module that is added, no name."""
    return (definition.module, "" if definition.kind == "module" else bound_name(definition))


def _needed_now(definition: Definition) -> set[tuple[str, str]]:
    """The names of modules that a definition reads while it is made."""
    return {each for node in statements(definition.text) for each in _needed_by(definition, node)}


def _needed_by(definition: Definition, node: ast.stmt) -> set[tuple[str, str]]:
    module = module_of(definition.file)
    if isinstance(node, ast.Import):
        return {(alias.name, "") for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        source = _absolute(definition.file, node)
        whole = {(f"{source}.{alias.name}", "") for alias in node.names}
        return {(source, alias.name) for alias in node.names} | whole | {(source, "")}
    if definition.kind == "statement":
        return {(module, "")}
    run: list[ast.AST] = [node]
    if isinstance(node, FunctionNode):
        arguments = node.args
        run = [*node.decorator_list, *arguments.defaults, *filter(None, arguments.kw_defaults)]
    elif isinstance(node, ast.ClassDef):
        run = [*node.decorator_list, *node.bases, *(each for each in node.body if not isinstance(each, FunctionNode))]
    return {(module, each.id) for part in run for each in ast.walk(part) if isinstance(each, ast.Name)}


def _absolute(file: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = file.split("/")[: -node.level]
    return ".".join([*parts, *([node.module] if node.module else [])])


def _belong(first: Definition, second: Definition) -> bool:
    if first.file == second.file:
        return True
    return bool(_news(first) & _words(second) or _news(second) & _words(first))


def _news(definition: Definition) -> set[str]:
    """Names that mean something else, or something at all, only once a definition is in place."""
    if definition.kind == "module":
        own = {definition.module.rpartition(".")[2]}
        return own | {name for each in statements(definition.text) if (name := str(getattr(each, "name", "")))}
    node, before = parsed(definition.text), parsed(definition.before)
    if node is None:
        return set()
    found = {definition.path.rpartition(".")[2]} if definition.verdict == "added" else set()
    if definition.kind == "import":
        return set()
    if isinstance(node, FunctionNode) and isinstance(before, FunctionNode):
        same = call_fit.parameters(node) == call_fit.parameters(before)
        if not same or call_fit.returned(node) != call_fit.returned(before):
            found.add(node.name)
    earlier = usage(before).stores if before is not None else set()
    return found | (usage(node).stores - earlier)


def _words(definition: Definition) -> set[str]:
    names: set[str] = set()
    for each in (inner for node in statements(definition.text) for inner in ast.walk(node)):
        if isinstance(each, ast.Name):
            names.add(each.id)
        elif isinstance(each, ast.Attribute):
            names.add(each.attr)
        elif isinstance(each, ast.keyword):
            names.add(each.arg or "")
        else:
            names.add(str(getattr(each, "name", "")))
    return names
