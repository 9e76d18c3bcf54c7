"""What becomes of one item of a change on a release: one answer for each kind of item."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from ascend_patches.carrying import captures, contained, merging, moving, placing
from ascend_patches.carrying.change import module_of
from ascend_patches.carrying.class_making import runs_when_made
from ascend_patches.carrying.classes import Classes
from ascend_patches.carrying.decorated_classes import hidden_by
from ascend_patches.carrying.decorators import undecorable
from ascend_patches.carrying.inventory import Inventory, Item, inventory, parsed
from ascend_patches.carrying.merge_doubts import merge_doubts
from ascend_patches.carrying.release_code import Code, other_binding
from ascend_patches.carrying.removals import Removals
from ascend_patches.carrying.results import Definition, LeftOut
from ascend_patches.carrying.sides import Sides
from ascend_patches.carrying.values import Values
from ascend_patches.upstream import fingerprints


class Items:
    """Judges the items of a change, one by one."""

    def __init__(self, code: Code, upstream: Code | None = None) -> None:
        self.code = code
        self.upstream = upstream
        """The tree that the change was made to, where it is at hand."""
        self.definitions: list[Definition] = []
        self.left_out: list[LeftOut] = []
        self.removals = Removals(code, upstream, self.definitions, self.left_out)
        self.sides: dict[int, Sides] = {}
        self.after: dict[str, str | None] = {}
        """The files of the change as it leaves them."""
        self.values = Values(code, self.definitions, lambda: self.after.values())
        self.classes = Classes(code)

    def judge(self, place: str, path: str, before: Inventory, after: Inventory, there: Inventory) -> None:
        old, new = before.items.get(path, []), after.items.get(path, [])
        if [(each.code, each.conditions) for each in old] == [(each.code, each.conditions) for each in new]:
            return
        one = (new or old)[0]
        if (
            all(each.for_types_only for each in (*old, *new))
            or path in ("__all__",)
            or path.startswith("from __future__")
        ):
            return
        if inside_whole(path, before, after):
            return
        release = there.items.get(path, [])
        definition = Definition(
            f"{module_of(place)}:{path}",
            place,
            one.kind,
            "cannot",
            base="\n".join(before.source(each) for each in old),
            theirs="\n".join(after.source(each) for each in new),
            before="\n".join(there.source(each) for each in release),
            scope=one.scope,
            order=one.node.lineno,
        )
        codes = [each.code for each in old], [each.code for each in new], [each.code for each in release]
        if not new:
            self.removals.judge(definition, old, release, before, place)
            return
        self.definitions.append(definition)
        if codes[2] == codes[1] and _conditions(new) == _conditions(release):
            definition.refuse("already there", "the release has the same code")
            return
        if one.kind == "import" and self.values.same_origin(place, new, release):
            definition.refuse("already there", "the release has the same name from the same place")
            return
        if max(len(old), len(new), len(release)) > 1:
            definition.refuse("cannot", "it is defined several times under one name")
            return
        if any(each.kind != one.kind for each in (*old, *new, *release)):
            definition.refuse("conflict" if release else "cannot", "it is another kind of thing on one of the sides")
            return
        handler = {
            "function": self._function,
            "class": self.classes.judge,
            "attribute": self.values.attribute,
            "import": self.values.imported,
            "statement": self._statement,
        }[one.kind]
        sides = Sides(old[0] if old else None, new[0], release[0] if release else None, before, after, there, place)
        self.sides[id(definition)] = sides
        handler(definition, sides)
        self._heed_rivals(definition, sides)
        hidden = hidden_by(self.code, definition.module, definition.scope) if definition.scope else ""
        if hidden and definition.is_carried:
            definition.refuse("cannot", f"@{hidden} puts something that is no class in place of {definition.scope}")

    def _heed_rivals(self, definition: Definition, sides: Sides) -> None:
        """Refuse what the release binds in another way as well, or makes under a condition only."""
        if not definition.is_carried or definition.kind not in ("function", "attribute"):
            return
        release = sides.release
        name = definition.path.rpartition(".")[2]
        reason = runs_when_made(self.code, definition.module, definition.scope, name) if definition.scope else ""
        if reason and definition.kind == "function":
            definition.refuse("cannot", reason)
        elif release is not None:
            rival = other_binding(self.code, definition.file, release)
            if rival:
                definition.refuse("cannot", f"the release binds {definition.path} again: {rival}")
            elif release.conditions:
                definition.doubts.append(f"it is there only under `{' and '.join(release.conditions)}`")

    def bring(self, item: Item, sides: Sides, place: str) -> None:
        """Carry an import along that upstream's file had already, as if the change had added it."""
        brought = Definition(f"{module_of(place)}:{item.path}", place, "import", "added", order=item.node.lineno)
        brought.theirs = sides.after.source(item)
        self.definitions.append(brought)
        self.sides[id(brought)] = Sides(None, item, None, sides.before, sides.after, sides.there, place)
        self.values.imported(brought, self.sides[id(brought)])

    def _function(self, definition: Definition, sides: Sides) -> None:
        old, new, release = sides.old, sides.new, sides.release
        reason = undecorable(new.node)
        if reason:
            definition.refuse("cannot", reason)
            return
        if old is None:
            if release is not None:
                definition.refuse("conflict", "the change adds it, and the release has other code under this name")
            elif new.scope and new.scope not in sides.there.items:
                definition.refuse("not there", f"the release has no class {new.scope}")
            elif new.conditions:
                definition.refuse("cannot", f"module code that has run, under {new.conditions[-1]!r}")
            else:
                definition.refuse("added", "")
                definition.text = sides.after.source(new)
            return
        if release is not None and not new.conditions == old.conditions == release.conditions:
            definition.refuse("cannot", "it is defined under other conditions there, or by the change")
            return
        if release is None:
            self.look_elsewhere(definition, sides)
            return
        self._merge(definition, sides)
        self._reach(definition, sides)
        if definition.is_carried and not new.scope and _indent(definition.text):
            definition.refuse("cannot", f"it is defined under {new.conditions[-1:]}")

    def _reach(self, definition: Definition, sides: Sides) -> None:
        """Whether a replaced function reaches all that took it when its module ran."""
        module = self.code.module_at(definition.file)
        if not definition.is_carried or sides.release is None or module is None:
            return
        found = captures.captured(self.code, module, definition.path)
        definition.also_at = found.also_at
        definition.doubts += found.doubts
        if found.refusal:
            definition.refuse("cannot", found.refusal)

    def _merge(self, definition: Definition, sides: Sides) -> None:
        old, new, release = sides.old, sides.new, sides.release
        assert old is not None
        assert release is not None
        if release.code == old.code:
            definition.refuse("exact", "")
            definition.text = sides.after.source(new)
            if _indent(definition.text) != _indent(sides.there.source(release)):
                definition.refuse("cannot", "it is indented otherwise there")
            return
        base = merging.units(old.node, sides.before.lines)
        theirs = merging.units(new.node, sides.after.lines)
        ours = merging.units(release.node, sides.there.lines)
        merged = merging.merge(base, theirs, ours)
        if (merged.conflicts or merged.beside) and contained.has_already(base, theirs, ours):
            definition.refuse(
                "already there", "the release has all that the change puts in, and nothing that it takes out"
            )
            return
        if merged.conflicts:
            definition.conflicts = merged.conflicts
            first = merged.conflicts[0].release.strip().partition("\n")[0][:70]
            definition.refuse(
                "conflict", f"{len(merged.conflicts)} place(s) that the release has otherwise, at: {first}"
            )
            return
        if [unit.key for unit in merged.units] == [unit.key for unit in ours]:
            definition.refuse("already there", "the merge is what the release has")
            return
        definition.refuse("merged", "")
        definition.text = merged.text
        whole = parsed(merged.text)
        if whole is None:
            definition.refuse("conflict", "the merge is no Python")
            return
        if merged.by_lines and fingerprints.of_node(whole) == release.code:
            definition.refuse("already there", "the merge is what the release has")
            return
        definition.doubts += merge_doubts(base, theirs, ours, merged)

    def look_elsewhere(self, definition: Definition, sides: Sides) -> None:
        old = sides.old
        found = moving.function_like(self.code, old, sides.before, sides.place, self.upstream) if old else None
        if found is None:
            definition.refuse("not there", "the release has no such function, here or elsewhere")
            return
        path, item = found
        upstream_path = sides.place
        self._is_at(definition, sides, path, item)
        if any(each.target == definition.target and each is not definition for each in self.definitions):
            definition.refuse("conflict", "two definitions of the change lead to this one")
            return
        self._merge(definition, sides)
        self._reach(definition, sides)
        if definition.is_carried:
            definition.reason = f"moved: upstream has it at {sides.upstream_place}"
            other = path != upstream_path and item.scope.rpartition(".")[2] != sides.new.scope.rpartition(".")[2]
            if other and not moving.is_renamed(
                self.code, path, item.scope, sides.before, sides.new.scope, self.upstream
            ):
                definition.doubts.append(f"it is one of {item.scope} there, and of {sides.new.scope} in the change")
            if self.upstream is None:
                definition.doubts.append("without a clone nothing shows that it is the same one, and not one alike")

    def look_for_value(self, definition: Definition, sides: Sides) -> None:
        """A dictionary of a module may be in another one on the release."""
        old = sides.old
        found = moving.mapping_like(self.code, old, sides.place, self.upstream) if old is not None else None
        if found is None:
            return
        upstream_place = sides.place
        self._is_at(definition, sides, *found)
        self.values.attribute(definition, sides)
        self._heed_rivals(definition, sides)
        if definition.is_carried:
            definition.reason = f"moved: upstream has it at {upstream_place}"

    def _is_at(self, definition: Definition, sides: Sides, path: str, item: Item) -> None:
        """Judge a definition at the place where the release has it."""
        sides.release, sides.there, sides.place = item, inventory(self.code.text(path) or ""), path
        definition.target, definition.file = f"{module_of(path)}:{item.path}", path
        definition.scope = item.scope
        definition.before = sides.there.source(item)

    def _statement(self, definition: Definition, sides: Sides) -> None:
        if sides.release is not None:
            definition.refuse("already there", "the release has the same statement")
            return
        node = sides.new.node
        sets = isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute)
        if sets and sides.old is None and not sides.new.conditions and not sides.new.scope:
            layered = self.code.over({**self.after, sides.place: sides.after.text})
            placing.place(definition, sides.new, self.code, layered, sides.place)
            return
        definition.target = f"{module_of(sides.place)}:{sides.new.scope or '(module)'}"
        definition.refuse("cannot", f"module code that has run: {sides.new.shown}")


def inside_whole(path: str, before: Inventory, after: Inventory) -> bool:
    """Whether an item is part of a class that is added or taken away as a whole."""
    scope = (after.items.get(path) or before.items[path])[0].scope
    while scope:
        if (scope in before.items) != (scope in after.items):
            return True
        scope = scope.rpartition(".")[0]
    return False


def _conditions(items: Sequence[Item]) -> list[tuple[str, ...]]:
    return [each.conditions for each in items]


def _indent(text: str) -> int:
    return len(text) - len(text.lstrip(" "))
