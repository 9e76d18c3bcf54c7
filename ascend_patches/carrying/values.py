"""What becomes of changed values and imports: names whose value other code may have taken already."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Sequence

from ascend_patches.carrying import captures, containers, fields, mappings
from ascend_patches.carrying.change import module_of
from ascend_patches.carrying.inventory import Item
from ascend_patches.carrying.release_code import Code
from ascend_patches.carrying.release_names import unknown_texts
from ascend_patches.carrying.results import Definition
from ascend_patches.carrying.sides import Sides

_COMPARABLE = (
    "frozenset",
    "set",
    "tuple",
    "list",
    "dict",
    "int",
    "float",
    "str",
    "bool",
    "os.getenv",
    "os.environ.get",
)
_READ = ("ClassVar", "InitVar", "KW_ONLY")
"""Annotations that a dataclass reads."""
_READS_FIELDS = re.compile(
    r"dataclass|\battrs?\b|\bconfig\b|\bmetaclass\b|(Enum|Flag|NamedTuple|TypedDict|BaseModel|Structure|Struct)\b"
)
"""What in the head of a class shows that its fields are read when it is made."""


class Values:
    """Judges class attributes, module names and imports. A verdict that is none takes the item off the list."""

    def __init__(
        self, code: Code, definitions: list[Definition], after: Callable[[], Iterable[str | None]] = tuple
    ) -> None:
        self.code = code
        self.definitions = definitions
        self.after = after
        """The texts of all files as the change leaves them."""

    def attribute(self, definition: Definition, sides: Sides) -> None:
        node = sides.new.node
        if sides.new.scope and self._annotated_otherwise(sides):
            self.definitions.remove(definition)
            return
        if isinstance(node, ast.AnnAssign) and node.value is None:
            if sides.new.scope and self._has_fields(definition, sides):
                definition.refuse("cannot", self._unfit_field(definition, sides))
            else:
                self.definitions.remove(definition)
            return
        if sides.new.conditions:
            definition.refuse("cannot", f"module code that has run, under {sides.new.conditions[-1]!r}")
            return
        if sides.new.scope and sides.new.scope not in sides.there.items:
            definition.refuse("not there", f"the release has no class {sides.new.scope}")
            return
        if sides.new.scope and self._has_fields(definition, sides):
            said = self._unfit_field(definition, sides)
            definition.refuse("cannot" if said else "added", said)
            definition.is_field = not said
            definition.text = sides.after.source(sides.new)
            return
        if sides.old is not None and sides.release is None:
            definition.refuse("not there", "the release has no such name")
            return
        if sides.old is None and sides.release is not None:
            definition.refuse("conflict", "the change adds it, and the release has this name with another value")
            return
        if sides.old is not None and sides.release is not None:
            if not self._changed(definition, sides.old, sides.release, sides):
                return
        else:
            definition.refuse("added", "")
        if isinstance(node, ast.Assign) and (len(node.targets) != 1 or not isinstance(node.targets[0], ast.Name)):
            definition.refuse("cannot", "one statement binds several names")
            return
        if sides.new.name.startswith("__"):
            definition.refuse("cannot", "a name that Python reads when the class or the module is made")
            return
        definition.text = definition.text or sides.after.source(sides.new)

    def _changed(self, definition: Definition, old: Item, release: Item, sides: Sides) -> bool:
        """Whether another value can take the place of the release's; the verdict says why not."""
        if release.code != old.code:
            module = self.code.module_at(sides.place)
            in_order = module is not None and containers.is_gone_over(self.code, module, release.name)
            texts = sides.after.source(sides.new), sides.there.source(release)
            found = mappings.merged(old, sides.new, release, texts, in_order)
            if not found.text:
                definition.refuse("already there" if found.already else "conflict", found.reason)
                return False
            definition.text = found.text
            added = (mappings.entries(sides.new.node) or {}).keys() - (mappings.entries(old.node) or {}).keys()
            unknown = unknown_texts(self.code, set(added), "has an entry for")
            # An entry that nothing asks for does nothing, as long as another one is asked for.
            definition.doubts += unknown if len(unknown) == len(added) else []
        reason = self.spread(definition, sides)
        fresh = _compared_in_vain(release.node)
        if not reason and fresh:
            reason = f"the release's value is made by `{fresh[:60]}`, and is not known again in a process"
        if reason:
            definition.refuse("cannot", reason)
            return False
        definition.refuse("merged" if definition.text else "exact", "")
        return True

    def spread(self, definition: Definition, sides: Sides) -> str:
        """Why a changed value would not reach all that took the old one while modules were imported."""
        module = self.code.module_at(sides.place)
        if module is None:
            return "its module cannot be read"
        path = sides.new.path.removeprefix("import ")
        reason = captures.read(self.code, module, path)
        if reason or sides.new.scope:
            return reason
        change = containers.filled(self.code, module, path)
        if change:
            return f"what it holds is changed while the release runs, and goes with it: `{change[:80]}`"
        asker = containers.asked_for_by_name(self.code, module, path)
        if asker:
            return f"{asker} asks for {path} by its name"
        for file in self.code.with_word(path):
            other = self.code.module_at(file)
            if other is None or file == sides.place:
                continue
            for node in ast.walk(other.inventory.tree):
                if not isinstance(node, ast.ImportFrom) or self.code.absolute(other, node) != module.name:
                    continue
                if any(alias.name in (path, "*") for alias in node.names):
                    return f"{other.name} took {path} when it was imported"
        return ""

    def _annotated_otherwise(self, sides: Sides) -> bool:
        """Whether a field of a dataclass only gets another annotation, which nothing reads when it runs."""
        nodes = [each.node for each in (sides.old, sides.new, sides.release) if each is not None]
        fields = [each for each in nodes if isinstance(each, ast.AnnAssign)]
        place = self.code.class_at(module_of(sides.place), sides.new.scope)
        read = any(word in ast.unparse(each.annotation) for word in _READ for each in fields)
        if len(fields) < 3 or place is None or read:
            return False
        heads = [ast.unparse(each) for each in place.node.decorator_list]
        plain = heads and all(each.partition("(")[0] in ("dataclass", "dataclasses.dataclass") for each in heads)
        values = {ast.dump(each.value) if each.value is not None else "" for each in fields[:2]}
        return bool(plain and not place.node.bases and len(values) == 1)

    def _unfit_field(self, definition: Definition, sides: Sides) -> str:
        """Why a field cannot be carried; empty where the release's dataclass can be given it."""
        place = self.code.class_at(module_of(sides.place), sides.new.scope)
        upstream = sides.after.class_node(sides.new.scope)
        if place is None or upstream is None or sides.old is not None or sides.release is not None:
            return fields.OF_A_MADE_CONSTRUCTOR
        if place.target != f"{definition.module}:{definition.scope}":
            return fields.OF_A_MADE_CONSTRUCTOR
        return fields.refusal(self.code, place, sides.new.node, upstream, filter(None, self.after()))

    def _has_fields(self, definition: Definition, sides: Sides) -> bool:
        place = self.code.class_at(module_of(sides.place), sides.new.scope)
        if place is None:
            return False
        lineage, outside = self.code.lineage(place)
        for owner in lineage:
            heads = [*owner.node.decorator_list, *owner.node.bases, *owner.node.keywords]
            if any(_READS_FIELDS.search(ast.unparse(each)) for each in heads):
                return True
        return any(_READS_FIELDS.search(each) for each in outside)

    def imported(self, definition: Definition, sides: Sides) -> None:
        if sides.new.scope:
            definition.refuse("cannot", "an import in a class body")
            return
        if sides.new.for_types_only:
            self.definitions.remove(definition)
            return
        if sides.new.alias is not None and sides.new.alias.name == "*":
            definition.refuse("cannot", "a star import is module code that has run")
            return
        if sides.new.conditions:
            definition.refuse("cannot", f"module code that has run, under {sides.new.conditions[-1]!r}")
            return
        if self._is_submodule_of_something_there(sides):
            definition.refuse("cannot", "it brings a submodule of a name that the release has, which binds nothing new")
            return
        if sides.release is not None and not sides.release.for_types_only:
            if sides.old is not None and sides.release.code == sides.old.code:
                reason = self.spread(definition, sides)
                if reason:
                    definition.refuse("cannot", reason)
                    return
                definition.refuse("exact", "")
            else:
                definition.refuse("conflict", "the release has this name from elsewhere")
                return
        elif sides.there.items.get(sides.new.path.removeprefix("import ")):
            definition.refuse("conflict", "the release binds this name to something else")
            return
        else:
            definition.refuse("added", "")
        definition.text = _one_import(sides.new)

    def _is_submodule_of_something_there(self, sides: Sides) -> bool:
        alias = sides.new.alias
        module = self.code.module_at(sides.place)
        if alias is None or alias.asname or "." not in alias.name or not isinstance(sides.new.node, ast.Import):
            return False
        return module is not None and alias.name.partition(".")[0] in module.bound and sides.release is None

    def same_origin(self, place: str, new: Sequence[Item], release: Sequence[Item]) -> bool:
        """Whether the release has a name from elsewhere, which is the same thing."""
        if len(new) != 1 or len(release) != 1 or new[0].alias is None:
            return False
        if new[0].conditions or release[0].conditions:
            return False
        module = self.code.module_at(place)
        if module is None or not isinstance(new[0].node, ast.ImportFrom):
            return False
        source = self.code.absolute(module, new[0].node)
        if not self.code.is_ours(source):
            return False
        theirs = self.code.origin(source, new[0].alias.name)
        bound = new[0].path.removeprefix("import ")
        return theirs is not None and theirs == self.code.origin(module.name, bound)


def _compared_in_vain(node: ast.stmt) -> str:
    """What in a value's expression makes another object each time, by which no value is known again."""
    value = getattr(node, "value", None)
    for inner in ast.walk(value) if value is not None else ():
        if isinstance(inner, (ast.Lambda, ast.GeneratorExp, ast.Await, ast.Yield)):
            return ast.unparse(inner)
        if isinstance(inner, ast.Call) and ast.unparse(inner.func) not in _COMPARABLE:
            return ast.unparse(inner)
    return ""


def _one_import(item: Item) -> str:
    """An import of one name, though upstream's statement may bring several."""
    assert item.alias is not None
    return item.code
