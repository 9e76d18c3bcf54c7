"""A change carried onto a release, definition by definition."""

from __future__ import annotations

import ast

from ascend_patches.carrying import doubting, moving, new_modules, release_patches
from ascend_patches.carrying.change import Change, FileChange, kind_of, module_of
from ascend_patches.carrying.effects import module_run_by
from ascend_patches.carrying.inventory import Inventory, inventory, parsed, statements
from ascend_patches.carrying.items import Items, inside_whole
from ascend_patches.carrying.judging_modules import NewModules
from ascend_patches.carrying.named_modules import texts_of, unknown_modules
from ascend_patches.carrying.release_code import Code, members_of
from ascend_patches.carrying.release_names import Surroundings
from ascend_patches.carrying.results import Definition, LeftOut, Result
from ascend_patches.carrying.sides import Sides
from ascend_patches.carrying.splicing import splice
from ascend_patches.carrying.usage import BUILTINS, Usage, imports_of, usage


def carry(change: Change, code: Code) -> Result:
    """What becomes of a change on a release. Nothing is written and nothing is executed."""
    return _Carrying(change, code).result()


class _Carrying:
    def __init__(self, change: Change, code: Code) -> None:
        self.change = change
        self.code = code
        self.upstream = Code(change.base, tuple, code.packages) if change.base is not None else None
        self.items = Items(code, self.upstream)
        self.definitions = self.items.definitions
        self.left_out = self.items.left_out
        self.items.after = {each.path: each.after for each in change.files if each.path.endswith(".py")}
        self.modules = NewModules(change, code, self.items)

    def result(self) -> Result:
        for file in self.change.files:
            self._file(file)
        self._bring_imports()
        self._drop_needless_imports()
        self.modules.heed_imports()
        for definition in self.definitions:
            if definition.is_carried:
                release_patches.heed(definition, release_patches.replaced_by_release(self.code))
        files = self._settle()
        result = Result(self.change, self.definitions, self.left_out, files)
        if result.carried:
            layered = self.code.over(dict(files))
            doubting.doubt(result, self.items.sides, self.code, layered, self.upstream)
            result.carried[0].doubts += self.items.removals.still_used(layered)
        return result

    def _file(self, file: FileChange) -> None:
        kind = kind_of(file.path, self.code.packages)
        if kind == "other":
            self.left_out.append(LeftOut(file.path, kind, "not part of the package"))
            return
        if kind in ("tests", "docs"):
            self.left_out.append(LeftOut(file.path, kind, f"{kind} are not carried"))
            return
        if kind == "native":
            self._cannot(file.path, "native code, which a running Python cannot be given")
            return
        if file.problem:
            self._cannot(file.path, file.problem)
            return
        try:
            before, after = inventory(file.before or ""), inventory(file.after or "")
        except (SyntaxError, ValueError):
            self._cannot(file.path, "this Python cannot parse it")
            return
        for hunk in file.unplaced:
            self._hunk(file, hunk)
        if file.after is None:
            self._removed_file(file)
            return
        place = self._place(file)
        if file.before is None and not self.code.has_path(place):
            self.modules.judge(file, after)
            return
        release = self.code.text(place)
        if release is None:
            self._absent_file(file, before, after)
            return
        try:
            there = inventory(release)
        except (SyntaxError, ValueError):
            self._cannot(place, "this Python cannot parse the release's file")
            return
        for path in dict.fromkeys((*before.items, *after.items)):
            self.items.judge(place, path, before, after, there)

    def _place(self, file: FileChange) -> str:
        """Where the release has a file."""
        for path in (file.old_path, file.path):
            if self.code.has_path(path):
                return path
        return (moving.file_like(self.code, file, self.upstream) if file.before is not None else None) or file.path

    def _removed_file(self, file: FileChange) -> None:
        if not self.code.has_path(file.old_path):
            gone = Definition(f"{file.old_module}:(module)", file.old_path, "statement", "already there")
            gone.reason = "the change takes it away, and the release does not have it"
            moved = moving.file_like(self.code, file, self.upstream)
            if moved is not None:
                gone.refuse("not there", f"the change takes it away, and the release has it at {moved}")
            self.definitions.append(gone)
            return
        if "/patch/" in file.old_path:
            self._cannot(file.old_path, "the change takes away a module that has run")
            return
        self.left_out.append(LeftOut(file.old_path, "removed", "upstream takes it away; it stays"))

    def _absent_file(self, file: FileChange, before: Inventory, after: Inventory) -> None:
        """The release has no such file: its functions may be in others."""
        for path in dict.fromkeys((*before.items, *after.items)):
            old, new = before.items.get(path, []), after.items.get(path, [])
            if [each.code for each in old] == [each.code for each in new] or not new:
                continue
            if new[0].kind == "import" or all(each.for_types_only for each in new) or inside_whole(path, before, after):
                continue
            definition = Definition(
                f"{file.old_module}:{path.removeprefix('statement ').partition(chr(10))[0]}",
                file.old_path,
                new[0].kind,
                "not there",
                "the release has no such file",
                base="\n".join(before.source(each) for each in old),
                theirs="\n".join(after.source(each) for each in new),
                scope=new[0].scope,
            )
            self.definitions.append(definition)
            if new[0].kind in ("function", "attribute") and len(old) == len(new) == 1:
                sides = Sides(old[0], new[0], None, before, after, before, file.old_path)
                self.items.sides[id(definition)] = sides
                look = self.items.look_elsewhere if new[0].kind == "function" else self.items.look_for_value
                look(definition, sides)

    def _hunk(self, file: FileChange, hunk: str) -> None:
        head = hunk.partition("\n")[0]
        self.definitions.append(
            Definition(
                f"{file.old_module}:{head}",
                file.old_path,
                "function",
                "conflict",
                "the release has no place for this hunk",
                theirs=hunk,
            )
        )

    def _cannot(self, path: str, reason: str) -> None:
        self.definitions.append(Definition(f"{path}:(file)", path, "statement", "cannot", reason))

    def _bring_imports(self) -> None:
        """Imports that upstream's file had before the change, that carried code uses, and that the release lacks."""
        for definition in [each for each in self.definitions if each.is_carried and each.kind != "import"]:
            sides = self.items.sides.get(id(definition))
            module = self.code.module_at(definition.file)
            if sides is None or module is None:
                continue
            named = {each.path for each in self.definitions if each.file == definition.file}
            for name in sorted(self._globals_of(definition) - set(module.bound) - BUILTINS):
                item = sides.after.one(f"import {name}")
                if item is not None and item.path not in named and not item.conditions and not item.scope:
                    self.items.bring(item, sides, definition.file)

    def _drop_needless_imports(self) -> None:
        """Imports count only where something that is carried uses them: the rest is for what is left out."""
        imports = [each for each in self.definitions if each.kind == "import" and each.verdict != "already there"]
        for definition in imports:
            if not definition.theirs:  # it is taken away, and refused for that
                continue
            sides = self.items.sides.get(id(definition))
            if sides is not None and self.modules.are_run_by(definition, sides):
                self.definitions.remove(definition)
                self.left_out.append(LeftOut(definition.target, "import", "what it imports runs when it goes in place"))
                continue
            run = module_run_by(sides.new, sides.after, sides.place, self.code) if sides is not None else ""
            if run:
                definition.refuse("cannot", f"it runs {run} for what that does, and imports of the release have run")
                continue
            name = definition.path.removeprefix("import ").partition(".")[0]
            if not any(name in self._globals_of(each) for each in self._users(definition)) and not self._lacked(
                definition, name
            ):
                self.definitions.remove(definition)
                self.left_out.append(LeftOut(definition.target, "import", "nothing that is carried uses it"))

    def _lacked(self, definition: Definition, name: str) -> bool:
        """Whether the release's own code uses a name that its module does not bind: an import that was forgotten."""
        module = self.code.module_at(definition.file)
        if module is None or module.bound.get(name) or definition.verdict != "added":
            return False
        functions = [item for items in module.inventory.items.values() for item in items if item.kind == "function"]
        return any(name in usage(item.node, bool(item.scope), True).globals for item in functions)

    def _users(self, definition: Definition) -> list[Definition]:
        """What could use an import: the other items of its file."""
        return [
            each
            for each in self.definitions
            if each.file == definition.file
            and each.kind != "import"
            and each.verdict != "already there"
            and id(each) in self.items.sides
        ]

    def _globals_of(self, definition: Definition) -> set[str]:
        sides = self.items.sides[id(definition)]
        carried = parsed(definition.text) if definition.is_carried else None
        node = carried if carried is not None else sides.new.node
        return usage(node, bool(sides.new.scope), "annotations" in sides.there.future).globals

    def _settle(self) -> dict[str, str]:
        """Refuse what needs something that the release lacks, until all that is left has what it needs."""
        while True:
            files = splice(self.definitions, self.code)
            layered = self.code.over(dict(files))
            surroundings = Surroundings(layered, self.code)
            fresh = frozenset(name for each in self.definitions if each.is_carried for name in _stores(each))
            refused = False
            for definition in [each for each in self.definitions if each.is_carried]:
                needs, doubts = self._judge(definition, surroundings, fresh)
                if needs:
                    definition.refuse("cannot", f"needs {'; '.join(needs)}")
                    refused = True
                else:
                    definition.doubts = list(dict.fromkeys([*definition.doubts, *doubts]))
            if not refused:
                return files
            for definition in self.definitions:
                definition.doubts = [each for each in definition.doubts if each in self._merge_doubts(definition)]

    def _merge_doubts(self, definition: Definition) -> list[str]:
        sides = self.items.sides.get(id(definition))
        return sides.merge_doubts if sides is not None else []

    def _judge(
        self, definition: Definition, surroundings: Surroundings, fresh: frozenset[str]
    ) -> tuple[list[str], list[str]]:
        if definition.kind == "module":
            return new_modules.judge(definition, surroundings, fresh)
        node = parsed(definition.text)
        sides = self.items.sides.get(id(definition))
        if node is None or sides is None:
            return ["text that can be parsed"], []
        if not sides.merge_doubts:
            sides.merge_doubts = list(definition.doubts)
        future = "annotations" in sides.there.future
        in_class = bool(definition.scope)
        new = usage(node, in_class, future)
        if definition.kind == "import":
            new = Usage(imports=imports_of(node))
        elif sides.release is not None:
            new = new - usage(sides.release.node, in_class, future)
        judged = surroundings.judge(module_of(definition.file), definition.scope, node, new, fresh)
        texts = texts_of(node) - (texts_of(sides.release.node) if sides.release is not None else set())
        return judged.needs, [*judged.doubts, *unknown_modules(surroundings.code, texts)]


def _stores(definition: Definition) -> set[str]:
    """Attributes and keys that carried code sets, or that it adds to a class."""
    found: set[str] = set()
    for node in statements(definition.text):
        found |= usage(node, bool(definition.scope)).stores | _keys_set_by(node)
        if isinstance(node, ast.ClassDef):
            found |= set(members_of(node))
    if definition.verdict == "added" and definition.text:
        found.add(definition.path.rpartition(".")[2])
    return found


def _keys_set_by(node: ast.stmt) -> set[str]:
    """The texts under which a definition puts items into dictionaries."""
    found: list[ast.expr | None] = []
    for inner in ast.walk(node):
        if isinstance(inner, ast.Dict):
            found += inner.keys
        elif isinstance(inner, ast.Subscript) and isinstance(inner.ctx, ast.Store):
            found.append(inner.slice)
        elif isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute) and inner.func.attr == "setdefault":
            found += inner.args[:1]
    return {each.value for each in found if isinstance(each, ast.Constant) and isinstance(each.value, str)}
