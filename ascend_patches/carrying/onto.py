"""A change carried onto a release, definition by definition."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Sequence

from ascend_patches.carrying import doubting, merging, moving
from ascend_patches.carrying.change import Change, FileChange, kind_of, module_of
from ascend_patches.carrying.inventory import FunctionNode, Inventory, Item, inventory
from ascend_patches.carrying.merging import Unit
from ascend_patches.carrying.release_code import Code
from ascend_patches.carrying.results import Definition, LeftOut, Result
from ascend_patches.carrying.splicing import splice
from ascend_patches.carrying.surroundings import Surroundings
from ascend_patches.carrying.usage import Usage, usage

_FIELDS = ("dataclass", "Enum", "IntEnum", "StrEnum", "Flag", "NamedTuple", "TypedDict", "BaseModel", "config", "Structure")
_HARMLESS_DECORATORS = (
    "staticmethod classmethod property abstractmethod abc.abstractmethod override typing.override typing_extensions.override "
    "torch.no_grad torch.inference_mode triton.jit contextmanager contextlib.contextmanager functools.wraps wraps "
    "functools.lru_cache lru_cache functools.cache cache functools.cached_property cached_property "
    "triton.autotune triton.heuristics torch.compile torch.compiler.disable"
).split()


def carry(change: Change, code: Code) -> Result:
    """What becomes of a change on a release. Nothing is written and nothing is executed."""
    return _Carrying(change, code).result()


class _Carrying:
    def __init__(self, change: Change, code: Code) -> None:
        self.change = change
        self.code = code
        self.definitions: list[Definition] = []
        self.left_out: list[LeftOut] = []
        self.pairs: dict[int, _Sides] = {}

    def result(self) -> Result:
        for file in self.change.files:
            self._file(file)
        self._drop_needless_imports()
        files = self._settle()
        result = Result(self.change, self.definitions, self.left_out, files)
        if result.carried:
            doubting.doubt(result, self.pairs, self.code, self.code.over(dict(files)))
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
            self._new_file(file, after)
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
            self._item(file, place, path, before, after, there)

    def _place(self, file: FileChange) -> str:
        """Where the release has a file."""
        for path in (file.old_path, file.path):
            if self.code.has_path(path):
                return path
        return (moving.file_like(self.code, file) if file.before is not None else None) or file.path

    def _item(
        self, file: FileChange, place: str, path: str, before: Inventory, after: Inventory, there: Inventory
    ) -> None:
        old, new = before.items.get(path, []), after.items.get(path, [])
        if [(each.code, each.conditions) for each in old] == [(each.code, each.conditions) for each in new]:
            return
        one = (new or old)[0]
        if all(each.for_types_only for each in (*old, *new)) or path in ("__all__",) or path.startswith("from __future__"):
            return
        if _inside_whole(path, before, after):
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
            self._removal(definition, old, release, place)
            return
        self.definitions.append(definition)
        if codes[2] == codes[1] and _conditions(new) == _conditions(release):
            definition.refuse("already there", "the release has the same code")
            return
        if one.kind == "import" and self._same_origin(place, new, release):
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
            "class": self._class,
            "attribute": self._attribute,
            "import": self._import,
            "statement": self._statement,
        }[one.kind]
        sides = _Sides(old[0] if old else None, new[0], release[0] if release else None, before, after, there, place)
        self.pairs[id(definition)] = sides
        handler(definition, sides)

    def _function(self, definition: Definition, sides: _Sides) -> None:
        old, new, release = sides.old, sides.new, sides.release
        reason = _undecorable(new.node, old.node if old is not None else None)
        if reason:
            definition.refuse("cannot", reason)
            return
        if old is None:
            if release is not None:
                definition.refuse("conflict", "the change adds it, and the release has other code under this name")
            elif new.scope and new.scope not in sides.there.items:
                definition.refuse("not there", f"the release has no class {new.scope}")
            else:
                definition.refuse("added", "")
                definition.text = sides.after.source(new)
            return
        if release is None:
            self._look_elsewhere(definition, sides)
            return
        self._merge(definition, sides)

    def _merge(self, definition: Definition, sides: _Sides) -> None:
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
        if merged.conflicts:
            definition.conflicts = merged.conflicts
            first = merged.conflicts[0].release.strip().partition("\n")[0][:70]
            definition.refuse("conflict", f"{len(merged.conflicts)} place(s) that the release has otherwise, at: {first}")
            return
        if [unit.key for unit in merged.units] == [unit.key for unit in ours]:
            definition.refuse("already there", "the merge is what the release has")
            return
        definition.refuse("merged", "")
        definition.text = merged.text
        if _parsed(merged.text) is None:
            definition.refuse("conflict", "the merge is no Python")
            return
        definition.doubts += doubting.merge_doubts(base, theirs, ours, merged.units)

    def _look_elsewhere(self, definition: Definition, sides: _Sides) -> None:
        found = moving.function_like(self.code, sides.old, sides.before) if sides.old is not None else None
        if found is None:
            definition.refuse("not there", "the release has no such function, here or elsewhere")
            return
        path, item = found
        text = self.code.text(path)
        assert text is not None
        sides.release, sides.there, sides.place = item, inventory(text), path
        definition.target, definition.file = f"{module_of(path)}:{item.path}", path
        definition.scope = item.scope
        definition.before = sides.there.source(item)
        if any(each.target == definition.target and each is not definition for each in self.definitions):
            definition.refuse("conflict", "two definitions of the change lead to this one")
            return
        self._merge(definition, sides)
        if definition.is_carried:
            definition.reason = f"moved: upstream has it at {sides.before_path}"

    def _class(self, definition: Definition, sides: _Sides) -> None:
        if sides.old is not None:
            if sides.release is None:
                definition.refuse("not there", "the release has no such class")
            else:
                definition.refuse("cannot", "its bases or decorators change, which no existing class can be given")
            return
        if sides.release is not None:
            definition.refuse("conflict", "the change adds it, and the release has another class of this name")
        elif sides.new.scope and sides.new.scope not in sides.there.items:
            definition.refuse("not there", f"the release has no class {sides.new.scope}")
        else:
            node = sides.new.node
            foreign = [text for text in (ast.unparse(each) for each in getattr(node, "decorator_list", [])) if "dataclass" not in text and "final" not in text]
            if foreign:
                definition.refuse("cannot", f"@{foreign[0]} runs when the class is made, and cannot be undone")
                return
            definition.refuse("added", "")
            definition.text = sides.after.source(sides.new)

    def _attribute(self, definition: Definition, sides: _Sides) -> None:
        node = sides.new.node
        if isinstance(node, ast.AnnAssign) and node.value is None:
            if sides.new.scope and self._has_fields(definition, sides):
                definition.refuse("cannot", "a field of a class whose constructor is made from its fields")
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
            definition.refuse("cannot", "a field of a class whose constructor is made from its fields")
            return
        if sides.old is not None and sides.release is None:
            definition.refuse("not there", "the release has no such name")
            return
        if sides.old is None and sides.release is not None:
            definition.refuse("conflict", "the change adds it, and the release has this name with another value")
            return
        if sides.old is not None and sides.release is not None:
            if sides.release.code != sides.old.code:
                definition.refuse("conflict", "the release has another value")
                return
            reason = self._spread(definition, sides)
            if reason:
                definition.refuse("cannot", reason)
                return
            definition.refuse("exact", "")
        else:
            definition.refuse("added", "")
        if isinstance(node, ast.Assign) and (len(node.targets) != 1 or not isinstance(node.targets[0], ast.Name)):
            definition.refuse("cannot", "one statement binds several names")
            return
        if sides.new.name.startswith("__"):
            definition.refuse("cannot", "a name that Python reads when the class or the module is made")
            return
        definition.text = sides.after.source(sides.new)

    def _spread(self, definition: Definition, sides: _Sides) -> str:
        """Why a changed value would not reach all that took the old one when it was imported."""
        name = sides.new.name
        release = sides.there
        for items in release.items.values():
            for item in items:
                if item.path == sides.new.path:
                    continue
                if item.kind in ("attribute", "statement", "class") and _mentions(item.node if item.kind != "class" else _heading(item.node), name):
                    return f"module code that has run uses {name}: {item.path.removeprefix('statement ')[:60]}"
                if item.kind == "function" and _mentions(_signature(item.node), name):
                    return f"the signature of {item.path} took {name} when the module ran"
        if sides.new.scope:
            return ""
        module = module_of(sides.place)
        for path in self.code.with_word(name):
            other = self.code.module_at(path)
            if other is None or path == sides.place:
                continue
            for node in ast.walk(other.inventory.tree):
                if isinstance(node, ast.ImportFrom) and self.code.absolute(other, node) == module:
                    if any(alias.name in (name, "*") for alias in node.names):
                        return f"{other.name} took {name} when it was imported"
        return ""

    def _has_fields(self, definition: Definition, sides: _Sides) -> bool:
        place = self.code.class_at(module_of(sides.place), sides.new.scope)
        if place is None:
            return False
        lineage, outside = self.code.lineage(place)
        for owner in lineage:
            heads = [*owner.node.decorator_list, *owner.node.bases, *owner.node.keywords]
            if any(word in ast.unparse(each) for each in heads for word in (*_FIELDS, "metaclass")):
                return True
        return any(each.rpartition(".")[2] in _FIELDS for each in outside)

    def _import(self, definition: Definition, sides: _Sides) -> None:
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
        if sides.release is not None and not sides.release.for_types_only:
            if sides.old is not None and sides.release.code == sides.old.code:
                reason = self._spread(definition, sides)
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

    def _same_origin(self, place: str, new: Sequence[Item], release: Sequence[Item]) -> bool:
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

    def _statement(self, definition: Definition, sides: _Sides) -> None:
        if sides.release is not None:
            definition.refuse("already there", "the release has the same statement")
            return
        definition.target = f"{module_of(sides.place)}:{sides.new.scope or '(module)'}"
        definition.refuse("cannot", f"module code that has run: {sides.new.path.removeprefix('statement ').partition(chr(10))[0][:80]}")

    def _removal(self, definition: Definition, old: Sequence[Item], release: Sequence[Item], place: str) -> None:
        """What a change takes away stays where nothing can notice it."""
        if not release or old[0].kind == "import":
            return
        if old[0].kind == "statement":
            definition.target = f"{definition.module}:{old[0].scope or '(module)'}"
            definition.refuse("cannot", f"module code that has run and that the change takes away: {old[0].path.removeprefix('statement ').partition(chr(10))[0][:80]}")
            self.definitions.append(definition)
            return
        if old[0].scope:
            found = self.code.class_at(definition.module, old[0].scope)
            if found is not None:
                lineage, outside = self.code.lineage(found)
                if outside or any(old[0].name in self.code.members(each) for each in lineage[1:]):
                    definition.refuse("cannot", "the change takes away an override, which would uncover what it overrides")
                    self.definitions.append(definition)
                    return
        self.left_out.append(LeftOut(definition.target, "removed", "upstream takes it away; it stays"))

    def _removed_file(self, file: FileChange) -> None:
        if not self.code.has_path(file.old_path):
            return
        if "/patch/" in file.old_path:
            self._cannot(file.old_path, "the change takes away a module that has run")
            return
        self.left_out.append(LeftOut(file.old_path, "removed", "upstream takes it away; it stays"))

    def _new_file(self, file: FileChange, after: Inventory) -> None:
        package = file.path.rpartition("/")[0]
        definition = Definition(f"{file.module}:(module)", file.path, "statement", "added", theirs=file.after or "")
        self.definitions.append(definition)
        if not file.path.endswith("__init__.py") and not self.code.has_path(f"{package}/__init__.py"):
            definition.refuse("not there", f"the release has no package {package.replace('/', '.')}")
            return
        definition.refuse("cannot", "a whole new module")

    def _absent_file(self, file: FileChange, before: Inventory, after: Inventory) -> None:
        """The release has no such file: its functions may be in others."""
        for path in dict.fromkeys((*before.items, *after.items)):
            old, new = before.items.get(path, []), after.items.get(path, [])
            if [each.code for each in old] == [each.code for each in new] or not new:
                continue
            if new[0].kind == "import" or all(each.for_types_only for each in new) or _inside_whole(path, before, after):
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
            if new[0].kind == "function" and len(old) == len(new) == 1:
                sides = _Sides(old[0], new[0], None, before, after, before, file.old_path)
                self.pairs[id(definition)] = sides
                self._look_elsewhere(definition, sides)

    def _hunk(self, file: FileChange, hunk: str) -> None:
        head = hunk.partition("\n")[0]
        self.definitions.append(
            Definition(f"{file.old_module}:{head}", file.old_path, "function", "conflict", "the release has no place for this hunk", theirs=hunk)
        )

    def _cannot(self, path: str, reason: str) -> None:
        self.definitions.append(Definition(f"{path}:(file)", path, "statement", "cannot", reason))

    def _drop_needless_imports(self) -> None:
        """Imports count only where something that is carried uses them: the rest is for what is left out."""
        self._needless(lambda each: each.kind == "import")

    def _needless(self, which: object) -> None:
        for definition in [each for each in self.definitions if each.kind == "import" and each.verdict in ("added", "conflict", "cannot", "exact")]:
            name = definition.path.removeprefix("import ").partition(".")[0]
            users = [
                each
                for each in self.definitions
                if each is not definition and each.file == definition.file and each.kind != "import" and id(each) in self.pairs
                and each.verdict != "already there"
            ]
            if not any(name in self._globals_of(each) for each in users):
                self.definitions.remove(definition)
                self.left_out.append(LeftOut(definition.target, "import", "nothing that is carried uses it"))

    def _globals_of(self, definition: Definition) -> set[str]:
        sides = self.pairs[id(definition)]
        return usage(sides.new.node, bool(sides.new.scope), "annotations" in sides.there.future).globals

    def _settle(self) -> dict[str, str]:
        """Refuse what needs something that the release lacks, until all that is left has what it needs."""
        while True:
            files = splice(self.definitions, self.code)
            layered = self.code.over(dict(files))
            surroundings = Surroundings(layered)
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
                definition.doubts = [each for each in definition.doubts if each in self.pairs_doubts(definition)]

    def pairs_doubts(self, definition: Definition) -> list[str]:
        sides = self.pairs.get(id(definition))
        return sides.merge_doubts if sides is not None else []

    def _judge(self, definition: Definition, surroundings: Surroundings, fresh: frozenset[str]) -> tuple[list[str], list[str]]:
        node = _parsed(definition.text)
        sides = self.pairs.get(id(definition))
        if node is None or sides is None:
            return ["text that can be parsed"], []
        if not sides.merge_doubts:
            sides.merge_doubts = list(definition.doubts)
        future = "annotations" in sides.there.future
        in_class = bool(definition.scope)
        new = usage(node, in_class, future)
        if definition.kind == "import":
            new = Usage(imports=_imports_of(node))
        elif sides.release is not None:
            new = new - usage(sides.release.node, in_class, future)
        judged = surroundings.judge(definition.module, definition.scope, node, new, fresh)
        return judged.needs, judged.doubts


class _Sides:
    """An item before, after and on the release, and the texts that these are in."""

    def __init__(
        self, old: Item | None, new: Item, release: Item | None, before: Inventory, after: Inventory, there: Inventory, place: str
    ) -> None:
        self.old = old
        self.new = new
        self.release = release
        self.before = before
        self.after = after
        self.there = there
        self.place = place
        self.before_path = place
        self.merge_doubts: list[str] = []


def _inside_whole(path: str, before: Inventory, after: Inventory) -> bool:
    """Whether an item is part of a class that is added or taken away as a whole."""
    plain = path.removeprefix("import ").removeprefix("statement ")
    scope = (after.items.get(path) or before.items[path])[0].scope
    del plain
    while scope:
        if (scope in before.items) != (scope in after.items):
            return True
        scope = scope.rpartition(".")[0]
    return False


def _conditions(items: Sequence[Item]) -> list[tuple[str, ...]]:
    return [each.conditions for each in items]


def _undecorable(node: ast.stmt, old: ast.stmt | None) -> str:
    """Why a function's decorators forbid making it anew."""
    for decorator in getattr(node, "decorator_list", []):
        text = ast.unparse(decorator)
        if text.partition("(")[0] not in _HARMLESS_DECORATORS:
            return f"@{text} runs when it is defined, and what it does there cannot be undone"
    del old
    return ""


def _indent(text: str) -> int:
    return len(text) - len(text.lstrip(" "))


def _parsed(text: str) -> ast.stmt | None:
    """One definition with its own indentation as a tree."""
    try:
        tree = ast.parse(f"if True:\n{text}" if text[:1].isspace() else text)
    except (SyntaxError, ValueError):
        return None
    body = tree.body
    if text[:1].isspace() and isinstance(body[0], ast.If):
        body = body[0].body
    return body[0] if len(body) == 1 else None


def _mentions(node: ast.AST, name: str) -> bool:
    return any(isinstance(inner, ast.Name) and inner.id == name for inner in ast.walk(node))


def _heading(node: ast.stmt) -> ast.AST:
    assert isinstance(node, ast.ClassDef)
    return ast.Tuple(elts=[*node.bases, *(each.value for each in node.keywords), *node.decorator_list], ctx=ast.Load())


def _signature(node: ast.stmt) -> ast.AST:
    assert isinstance(node, FunctionNode)
    defaults = [*node.args.defaults, *(each for each in node.args.kw_defaults if each is not None)]
    return ast.Tuple(elts=[*defaults, *node.decorator_list], ctx=ast.Load())


def _one_import(item: Item) -> str:
    """An import of one name, though upstream's statement may bring several."""
    assert item.alias is not None
    return item.code


def _imports_of(node: ast.stmt) -> set[tuple[str, str]]:
    if isinstance(node, ast.ImportFrom):
        return {("." * node.level + (node.module or ""), alias.name) for alias in node.names}
    if isinstance(node, ast.Import):
        return {(alias.name, "") for alias in node.names}
    return set()


def _stores(definition: Definition) -> set[str]:
    """Attributes that carried code sets, or that it adds to a class."""
    node = _parsed(definition.text)
    if node is None:
        return set()
    found = usage(node, bool(definition.scope)).stores
    if definition.verdict == "added":
        found.add(definition.path.rpartition(".")[2])
    if isinstance(node, ast.ClassDef):
        from ascend_patches.carrying.release_code import members_of

        found |= set(members_of(node))
    return found


def counted(values: Iterable[str]) -> Counter[str]:
    return Counter(values)


def units_of(item: Item, inventory_of: Inventory) -> tuple[Unit, ...]:
    return merging.units(item.node, inventory_of.lines)
