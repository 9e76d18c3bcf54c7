"""What carried code counts on and does not change: functions whose code has to be the release's own."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import NamedTuple

from ascend_patches.carrying.change import module_of
from ascend_patches.carrying.decorated_classes import hidden_by
from ascend_patches.carrying.inventory import FunctionNode, inventory, statements
from ascend_patches.carrying.release_code import Code
from ascend_patches.carrying.release_patches import FunctionDef, replaced_by_release, source_is_there
from ascend_patches.carrying.results import Definition, Result
from ascend_patches.carrying.usage import usage
from ascend_patches.carrying.using import called_functions
from ascend_patches.upstream import fingerprints

_MANY = 40


class Reliance(NamedTuple):
    """A function that carried code counts on, and the code that it can be on the release.

    This is what the text of its module says, and what the release's own patches put in its place.
    """

    target: str
    fingerprints: tuple[str, ...]


class Reliances:
    """What a group of carried definitions relies on, and what it calls that cannot be relied on, with the reason."""

    def __init__(self, group: Sequence[Definition], result: Result, code: Code) -> None:
        self._code = code
        self._carried = {f"{module_of(each.file)}:{each.path}" for each in result.carried}
        self._found: dict[str, tuple[str, ...]] = {}
        self.unknown: dict[str, str] = {}
        for definition in group:
            self._add_called(definition)
        replaced = {each.file for each in group if each.kind == "function" and each.verdict != "added"}
        for file in sorted({each.file for each in group} - replaced):
            self._add_anchor(file)
        for each in group:
            if each.kind == "module":
                self._add_neighbour(each.file)

    @property
    def known(self) -> list[Reliance]:
        return [Reliance(target, known) for target, known in sorted(self._found.items())]

    def _add_called(self, definition: Definition) -> None:
        """Functions of the release that a definition calls by a name of its module or of its own class."""
        calls = {call for node in statements(definition.text) for call in usage(node, bool(definition.scope)).calls}
        code = self._code.over({definition.file: definition.text}) if definition.kind == "module" else self._code
        for target, _, function in called_functions(code, module_of(definition.file), definition.scope, calls):
            if target.startswith(f"{definition.module}:") and definition.kind == "module":
                continue
            if target in self._carried or len(self._found) >= _MANY:
                continue
            known, reason = forms(self._code, target, function)
            if known:
                self._found.setdefault(target, known)
            else:
                self.unknown.setdefault(target, reason)

    def _add_neighbour(self, file: str) -> None:
        """A function of the package that a new module goes to, or of what that imports: with it the package is."""
        package = self._code.module(module_of(file).rpartition(".")[0])
        if package is None or self._add_anchor(package.path):
            return
        named = [item for items in package.inventory.items.values() for item in items if item.kind == "import"]
        for item in reversed([each for each in named if not each.conditions and each.alias is not None]):
            assert item.alias is not None
            source = f"{package.name}.{item.alias.name}"
            if isinstance(item.node, ast.Import):
                source = item.alias.name
            elif isinstance(item.node, ast.ImportFrom) and self._code.path_of(source) is None:
                source = self._code.absolute(package, item.node)
            path = self._code.path_of(source)
            if path is not None and source.startswith(f"{package.name}.") and self._add_anchor(path):
                return

    def _add_anchor(self, file: str) -> bool:
        """One function of a module in which no function is replaced: by it, its release is known."""
        module = module_of(file)
        if any(target.startswith(f"{module}:") for target in self._found):
            return True
        for items in inventory(self._code.text(file) or "").items.values():
            item = items[0]
            target = f"{module}:{item.path}"
            if len(items) > 1 or not isinstance(item.node, FunctionNode) or target in self._carried:
                continue
            known, _ = forms(self._code, target, item.node)
            if known:
                self._found[target] = known
                return True
        return False


def forms(code: Code, target: str, function: FunctionDef) -> tuple[tuple[str, ...], str]:
    """The fingerprints that a function can have in a process; none, and why, where one is not known."""
    own = fingerprints.of_node(function)
    if not own or not source_is_there(function):
        return (), "its decorators leave no code to compare in the process"
    module, _, path = target.partition(":")
    hidden = hidden_by(code, module, path.rpartition(".")[0]) if "." in path else ""
    if hidden:
        return (), f"@{hidden} puts something that is no class in place of its class"
    forms = [own]
    for replacement in replaced_by_release(code).of(target):
        if not replacement.fingerprint:
            return (), f"{replacement.file} may replace it by what cannot be compared"
        forms.append(replacement.fingerprint)
    return tuple(dict.fromkeys(forms)), ""
