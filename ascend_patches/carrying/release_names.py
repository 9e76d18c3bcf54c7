"""Whether a release has what carried code newly uses: names, attributes, parameters.

What is certainly absent is a need; what cannot be seen in the text is a doubt. Both are sentences for the report.
"""

from __future__ import annotations

import ast
import re
import sys
from typing import NamedTuple

from ascend_patches.carrying.class_making import unwelcome_attributes
from ascend_patches.carrying.inferring import Inference
from ascend_patches.carrying.inventory import Item
from ascend_patches.carrying.new_calls import Calls
from ascend_patches.carrying.release_code import ClassPlace, Code, Module
from ascend_patches.carrying.standard import is_of_torch, layer_names, standard_module, standard_names
from ascend_patches.carrying.usage import BUILTINS, Attribute, Usage, dotted, local_names

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_MANY = 12
_FOR_EVERY_DEVICE = ("torch.cuda.is_available", "torch.cuda.is_initialized")
"""What torch answers on a machine without CUDA as well."""


class Judged(NamedTuple):
    """What a release lacks, and what nothing in its text can tell."""

    needs: list[str]
    doubts: list[str]


class Surroundings:
    """A release as the place where new code has to run."""

    def __init__(self, code: Code, release: Code) -> None:
        self.code = code
        self.release = release
        """The release without what is carried: that the new code uses a name proves nothing."""
        self.calls = Calls(code, release)
        self._defined: dict[str, bool] = {}
        self._used: dict[str, bool] = {}

    def judge(
        self, module_name: str, scope: str, node: ast.stmt, new: Usage, fresh: frozenset[str] = frozenset()
    ) -> Judged:
        """Everything that a definition newly uses; ``fresh`` are attributes and keys that the change itself sets."""
        needs: list[str] = []
        doubts: list[str] = []
        module = self.code.module(module_name)
        if module is None:
            return Judged([f"module {module_name}"], [])
        for name in sorted(new.globals - BUILTINS):
            self._global(module, name, needs, doubts)
            doubts += for_cuda(self.code, module.name, name)
        for source, name in sorted(new.imports):
            self._import(module, source, name, needs)
        locals_here = local_names(node)
        inference = Inference(self.code, module_name, scope, node)
        for attribute in sorted(new.attributes, key=lambda each: (each.root, each.name)):
            if attribute.name not in fresh or attribute.root in ("self", "cls"):
                self._attribute(module, scope, attribute, inference, locals_here, fresh, needs, doubts)
        for name, answered in sorted(each for each in new.asked if each[0] not in fresh and not self._known(each[0])):
            (doubts if answered else needs).append(f"an attribute {name} by its name, which nothing on the release has")
        doubts += unknown_texts(self.release, new.keys - fresh, "reads an item")
        doubts += unknown_texts(self.release, {text for _, text in new.compared} - fresh, "compares something with")
        needs += unwelcome_attributes(self.code, module_name, scope, new.own_stores)
        for call in sorted(new.calls, key=lambda each: (each.callee, each.keywords, str(each.count))):
            self.calls.judge(module, call, inference, locals_here, needs, doubts)
        return Judged(list(dict.fromkeys(needs)), list(dict.fromkeys(doubts)))

    def _global(self, module: Module, name: str, needs: list[str], doubts: list[str]) -> None:
        found = self.code.lookup(module.name, name)
        if found is None:
            needs.append(name)
            return
        items = module.bound.get(name, [])
        if not items and self.release.lookup(module.name, name) is None:
            needs.append(f"{name}, which a star import has not brought before")
            return
        if any(isinstance(item.node, ast.Delete) for item in module.inventory.items.get(f"statement del {name}", [])):
            needs.append(f"{name}, which the module deletes")
            return
        live = [item for item in items if not item.for_types_only]
        if items and not live:
            needs.append(f"{name}, which is imported there for type checkers only")
        elif live and all(_conditional(self.code, item) for item in live) and not _on_both_branches(live):
            conditions = " and ".join(live[0].conditions)
            doubts.append(f"{name} is bound there only under `{conditions}`")
        elif any(item.kind == "import" for item in live):
            self._imported_name(module, live[0], needs)

    def _imported_name(self, module: Module, item: Item, needs: list[str]) -> None:
        """An import that the release has, or that is carried, has to find what it names."""
        if item.alias is None:
            return
        if isinstance(item.node, ast.ImportFrom):
            self._import(module, "." * item.node.level + (item.node.module or ""), item.alias.name, needs)
        else:
            self._import(module, item.alias.name, "", needs)

    def _import(self, module: Module, source: str, name: str, needs: list[str]) -> None:
        level = len(source) - len(source.lstrip("."))
        node = ast.ImportFrom(module=source[level:] or None, names=[], level=level)
        absolute = self.code.absolute(module, node) if level else source
        if not self.code.is_ours(absolute):
            if not _importable(absolute, self.code):
                needs.append(f"module {absolute}")
            return
        if self.code.path_of(absolute) is None:
            folder = absolute.replace(".", "/") + "/"
            if not any(path.startswith(folder) for path in self.code.paths()) and not _native_module(absolute):
                needs.append(f"module {absolute}")
            return
        found = not name or name == "*" or self.code.lookup(absolute, name) is not None
        if not found and self.code.path_of(f"{absolute}.{name}") is None:
            needs.append(f"{absolute}.{name}")

    def _attribute(
        self,
        module: Module,
        scope: str,
        attribute: Attribute,
        inference: Inference,
        locals_here: set[str],
        fresh: frozenset[str],
        needs: list[str],
        doubts: list[str],
    ) -> None:
        root, name = attribute.root, attribute.name
        shown = f"{root or '(...)'}.{name}"
        if name.startswith("__") and name.endswith("__"):
            return
        first = root.partition(".")[0]
        if first and first not in locals_here and first not in ("self", "cls"):
            verdict = self._module_attribute(module, root, name)
            if verdict is not None:
                if verdict:
                    needs.append(verdict)
                return
        if root in ("self", "cls") and inference.place is not None:
            self._own_attribute(inference.place, name, fresh, needs, doubts)
            return
        if first == "super":
            return
        place = inference.class_of(root)
        if place is not None:
            missing = self._lacks(place, name)
            if missing == "no":
                return
            if missing == "yes" and name not in fresh:
                if self._set_from_outside(name):
                    return
                needs.append(f"{shown}: {place.target} has no {name}")
                return
        if name in fresh:
            return
        if self._known(name):
            return
        doubts.append(f"nothing on the release defines or uses an attribute {name} ({shown})")

    def _known(self, name: str) -> bool:
        return name in standard_names() or self.used(name) or self.defined(name) or is_of_torch(name)

    def _module_attribute(self, module: Module, root: str, name: str) -> str | None:
        """What is missing where the root is a module or a class: a sentence, nothing, or None where it is neither."""
        first, _, rest = root.partition(".")
        origin = self.code.origin(module.name, first)
        if origin is None:
            return None
        if root.startswith("torch.ops."):
            shown = f"{root}.{name}"
            return "" if self._used_as(shown) else f"{shown}, an op that nothing on the release calls"
        base = origin[0] if not origin[1] else ""
        if base and not self.code.is_ours(base):
            return self._foreign_attribute(f"{base}{'.' + rest if rest else ''}", name)
        if base:
            parts = [base, *([*rest.split(".")] if rest else [])]
            while parts and self.code.path_of(".".join(parts)) is None:
                parts.pop()
            absolute = ".".join(parts)
            consumed = len(absolute.split(".")) - len(base.split("."))
            inner = [*rest.split(".")[consumed:]] if rest else []
            if self.code.path_of(absolute) is None:
                return None
            asked = [*inner, name]
            if self.code.lookup(absolute, asked[0]) is None and self.code.path_of(f"{absolute}.{asked[0]}") is None:
                return f"{absolute}.{asked[0]}"
            if len(asked) == 1:
                return ""
            place = self.code.class_at(absolute, ".".join(asked[:-1]))
            return self._class_attribute(place, name) if place is not None else None
        if not self.code.is_ours(origin[0]):
            return self._foreign_attribute(f"{origin[0]}.{origin[1]}{'.' + rest if rest else ''}", name)
        place = self.code.class_at(module.name, root)
        return self._class_attribute(place, name) if place is not None else None

    def _class_attribute(self, place: ClassPlace, name: str) -> str:
        return f"{place.target}.{name}" if self._lacks(place, name) == "yes" else ""

    def _lacks(self, place: ClassPlace, name: str) -> str:
        """Whether a class lacks a member: yes, no, or unknown where it inherits from code that is not here."""
        lineage, outside = self.code.lineage(place)
        for owner in lineage:
            members = self.code.members(owner)
            if name in members:
                return "no"
            if "__getattr__" in members or "__getattribute__" in members:
                return "unknown"
        return "unknown" if [each for each in outside if each.rpartition(".")[2] not in _PLAIN_BASES] else "yes"

    def _set_from_outside(self, name: str) -> bool:
        """Whether some code sets an attribute of that name on an object that is not its own ``self``."""
        for path in self.code.with_word(name):
            module = self.code.module_at(path)
            if module is not None and name in module.set_on_others:
                return True
        return False

    def _own_attribute(
        self, place: ClassPlace, name: str, fresh: frozenset[str], needs: list[str], doubts: list[str]
    ) -> None:
        missing = self._lacks(place, name)
        if missing == "no":
            return
        _, outside = self.code.lineage(place)
        if missing == "unknown" and (self.used(name) or name in standard_names()) and not self.defined(name):
            return
        if any(name in self.code.members(each) for each in self.code.subclasses(place)):
            doubts.append(f"self.{name} is given by some subclasses of {place.target} only")
            return
        if self._set_from_outside(name):
            return
        if missing == "unknown" and name in layer_names():
            return
        if missing == "unknown":
            what = f"self.{name}: neither {place.target} nor what it inherits from here has it"
            doubts.append(f"{what} ({', '.join(outside)} is not here)")
        else:
            needs.append(f"self.{name}: neither {place.target} nor what it inherits from has it")

    def _foreign_attribute(self, base: str, name: str) -> str | None:
        """An attribute of a module whose code is not here: what the release uses of it is there."""
        if base.partition(".")[0] in sys.stdlib_module_names:
            found = standard_module(base)
            if found is None or hasattr(found, name):
                return "" if found is not None else None
            return f"{base}.{name}"
        if base.partition(".")[0] in ("torch_npu", "torchair") and not self._used_as(f"{base}.{name}"):
            return f"{base}.{name}, which nothing on the release uses"
        if base.partition(".")[0] == "torch" and is_of_torch(name):
            return ""
        return "" if self.used(name) else None

    def _used_as(self, shown: str) -> bool:
        """Whether the release itself reads ``a.b.c``, and not only where a version or a feature is asked for first."""
        for path in self.release.with_word(shown):
            module = self.release.module_at(path)
            if module is not None and shown in module.plainly_read:
                return True
        return False

    def defined(self, name: str) -> bool:
        """Whether any text of the release gives an attribute of that name to anything."""
        if name not in self._defined:
            self._defined[name] = any(_defines(self.code.text(path) or "", name) for path in self.code.with_word(name))
        return self._defined[name]

    def used(self, name: str) -> bool:
        """Whether the release itself reads an attribute of that name without asking first whether it is there."""
        if name not in self._used:
            self._used[name] = any(
                name in module.plainly_read
                for path in self.release.with_word(f".{name}")
                if (module := self.release.module_at(path)) is not None
            )
        return self._used[name]


def for_cuda(code: Code, module_name: str, name: str) -> list[str]:
    """A doubt about a function or a class of vLLM that is newly used, and that asks CUDA itself for something."""
    origin = code.origin(module_name, name)
    home = code.module(origin[0]) if origin is not None and origin[1] and origin[0].startswith("vllm.") else None
    item = home.inventory.one(origin[1]) if home is not None and origin is not None else None
    if home is None or item is None:
        return []
    asked = [dotted(node) for node in ast.walk(item.node) if isinstance(node, ast.Attribute)]
    found = next((each for each in asked if each.startswith("torch.cuda.") and each not in _FOR_EVERY_DEVICE), "")
    return [f"{home.name}:{item.path} uses {found}, which an NPU may not have"] if found else []


def unknown_texts(release: Code, texts: set[str], what: str) -> list[str]:
    """Doubts about texts that the new code counts on, and that nothing on the release has as a text or a name."""
    doubts = []
    for key in sorted(texts):
        named = re.compile(rf"""['"]{re.escape(key)}['"]|\b{re.escape(key)}\s*[:=](?!=)""")
        if not any(named.search(release.text(path) or "") for path in release.with_word(key)):
            doubts.append(f"it {what} {key!r}, which nothing on the release has by that name")
    return doubts


def _defines(text: str, name: str) -> bool:
    ways = (
        rf"\b(?:def|class)\s+{name}\b",
        rf"\.{name}\s*(?::[^=\n]+)?=(?!=)",
        rf"^\s*{name}\s*:(?!=)",
        rf"^\s*{name}\s+=\s",
        rf"setattr\([^,]+,\s*.{name}.\)?,",
    )
    pattern = "|".join(ways)
    return re.search(pattern, text, re.MULTILINE) is not None


_PLAIN_BASES = frozenset(
    {"object", "ABC", "Enum", "IntEnum", "Protocol", "Generic", "NamedTuple", "TypedDict", "Exception"}
)


def _native_module(absolute: str) -> bool:
    """A compiled module, of which a wheel's Python files show nothing but its uses."""
    return absolute.rpartition(".")[2].endswith(("_C", "_version"))


def _conditional(code: Code, item: Item) -> bool:
    return any(not _always(code, condition) for condition in item.conditions)


def _always(code: Code, condition: str) -> bool:
    """Whether a condition holds on this release, as far as its versions say."""
    vllm = (code.versions.get("vllm") or "").partition("+")[0]
    for quote in "'\"":
        if vllm and condition == f"vllm_version_is({quote}{vllm}{quote})":
            return True
        start = f"not (vllm_version_is({quote}"
        if vllm and condition.startswith(start) and vllm not in condition:
            return True
    return False


def _on_both_branches(items: list[Item]) -> bool:
    """Whether a name is bound whichever way a test goes, or in a ``try`` and in each of its handlers."""
    conditions = {item.conditions[-1] for item in items if item.conditions}
    if "try" in conditions and any(each.startswith("except") for each in conditions):
        return True
    return any(f"not ({each})" in conditions for each in conditions)


def _importable(name: str, code: Code) -> bool:
    """Whether a module that is not here can be imported on the release: it imports something of it itself."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names:
        return True
    pattern_words = code.with_word(top)
    dotted_name = name.split(".")
    for path in pattern_words:
        text = code.text(path) or ""
        if f"import {name}" in text or f"from {name}" in text:
            return True
        if len(dotted_name) == 1 and (f"from {top}." in text or f"import {top}." in text):
            return True
    return False
