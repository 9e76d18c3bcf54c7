"""The code of a release, or of any tree of Python files: what its modules bind and what its classes have."""

from __future__ import annotations

import ast
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from ascend_patches.carrying.at_import import Ran, run_at_import
from ascend_patches.carrying.change import module_of
from ascend_patches.carrying.inventory import FunctionNode, Inventory, Item, inventory
from ascend_patches.carrying.usage import Called, calls_in, dotted
from ascend_patches.carrying.words import Words
from ascend_patches.errors import CarryError

_HOPS = 24


@dataclass
class Module:
    """What a module's names are bound to, as far as its text says."""

    name: str
    path: str
    inventory: Inventory
    bound: dict[str, list[Item]] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    dynamic: bool = False

    @cached_property
    def plainly_read(self) -> frozenset[str]:
        """The attributes that it reads without a question about versions or features around them, dotted and bare."""
        nodes = [node for node in unguarded(self.inventory.tree) if isinstance(node, ast.Attribute)]
        return frozenset(name for node in nodes for name in (node.attr, dotted(node)) if name)

    @cached_property
    def plain_calls(self) -> list[ast.Call]:
        """Its calls without a question about versions or features around them."""
        return [node for node in unguarded(self.inventory.tree) if isinstance(node, ast.Call)]

    @cached_property
    def at_import(self) -> list[Ran]:
        """What runs while it is imported."""
        return run_at_import(self.inventory.tree)

    @cached_property
    def read(self) -> frozenset[str]:
        """Every attribute that it reads."""
        nodes = ast.walk(self.inventory.tree)
        return frozenset(n.attr for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Load))

    @cached_property
    def set_on_others(self) -> frozenset[str]:
        """The attributes that it sets on anything but ``self``."""
        found = set()
        for node in ast.walk(self.inventory.tree):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                if dotted(node.value) not in ("self", "cls"):
                    found.add(node.attr)
            elif isinstance(node, ast.Call) and dotted(node.func) == "setattr" and len(node.args) == 3:
                value = node.args[1]
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    found.add(value.value)
        return frozenset(found)

    @cached_property
    def calls(self) -> dict[str, list[tuple[str, Called]]]:
        """Every call in a function, by the last name of what is called, with the function's path."""
        found: dict[str, list[tuple[str, Called]]] = {}
        for items in self.inventory.items.values():
            for item in items:
                if item.kind == "function":
                    for call in calls_in(item.node):
                        found.setdefault(call.callee.rpartition(".")[2], []).append((item.path, call))
        return found

    @property
    def is_package(self) -> bool:
        return self.path.endswith("__init__.py")


@dataclass(frozen=True)
class ClassPlace:
    """A class and the module that it is written in."""

    module: str
    path: str
    node: ast.ClassDef

    @property
    def target(self) -> str:
        return f"{self.module}:{self.path}"


class Code:
    """A tree of Python files, read when it is asked for, and what lies over it: files as a change has left them."""

    def __init__(
        self,
        read: Callable[[str], str | None],
        list_paths: Callable[[], Iterable[str]],
        packages: tuple[str, ...],
        versions: dict[str, str | None] | None = None,
    ) -> None:
        self._read = read
        self._list = list_paths
        self.packages = packages
        self.versions = versions or {}
        self._overlay: dict[str, str | None] = {}
        self._modules: dict[str, Module | None] = {}
        self._paths: tuple[str, ...] | None = None
        self._members: dict[str, dict[str, list[ast.AST]]] = {}
        self._texts: dict[str, str | None] = {}
        self._below: Code | None = None

    def over(self, files: dict[str, str | None]) -> Code:
        """The same tree with some files replaced, added or taken away."""
        layered = Code(self.text, self.paths, self.packages, self.versions)
        layered._overlay = dict(files)
        layered._below = self
        return layered

    def text(self, path: str) -> str | None:
        if path in self._overlay:
            return self._overlay[path]
        if path not in self._texts:
            self._texts[path] = self._read(path)
        return self._texts[path]

    def paths(self) -> tuple[str, ...]:
        if self._paths is None:
            there = dict.fromkeys(self._list())
            there.update(dict.fromkeys(path for path, text in self._overlay.items() if text is not None))
            gone = {path for path, text in self._overlay.items() if text is None}
            self._paths = tuple(path for path in there if path not in gone)
        return self._paths

    def has_path(self, path: str) -> bool:
        return self.text(path) is not None

    def with_word(self, word: str) -> list[str]:
        """The files that can matter for a name, those of the first package first."""
        if self._below is not None:
            found = [path for path in self._below.with_word(word) if path not in self._overlay]
            found += [path for path, text in self._overlay.items() if word in (text or "")]
            return sorted(found, key=lambda path: path.partition("/")[0] != self.packages[0])
        return self.words.files_with(word)

    @cached_property
    def words(self) -> Words:
        """Which files have a word."""
        return Words(self.paths(), lambda path: self.text(path) or "")

    def module(self, name: str) -> Module | None:
        """A module by name; None where there is none, or where its text is no Python."""
        if name not in self._modules:
            below = self._below
            # What is not replaced is the same module, with all that has been found out about it.
            shared = below is not None and self.path_of(name) not in self._overlay
            self._modules[name] = below.module(name) if below is not None and shared else read_module(self, name)
        return self._modules[name]

    def module_at(self, path: str) -> Module | None:
        return self.module(module_of(path))

    def path_of(self, name: str) -> str | None:
        stem = name.replace(".", "/")
        return next((path for path in (f"{stem}/__init__.py", f"{stem}.py") if self.has_path(path)), None)

    def is_ours(self, module: str) -> bool:
        """Whether a module is of the packages whose code is here."""
        return module.partition(".")[0] in self.packages

    def absolute(self, module: Module, node: ast.ImportFrom) -> str:
        """The module that a ``from`` import names."""
        if not node.level:
            return node.module or ""
        parts = module.name.split(".")
        keep = len(parts) - node.level + (1 if module.is_package else 0)
        return ".".join([*parts[:keep], *([node.module] if node.module else [])])

    def lookup(self, module_name: str, name: str, hops: int = _HOPS) -> list[Item] | None:
        """What a module's global name is, with what it was imported from followed; None where there is no such name.

        An empty list is a name that is there, and of which no definition is known.
        """
        module = self.module(module_name)
        if module is None or not hops:
            return None
        items = module.bound.get(name)
        if items:
            found: list[Item] = []
            for item in items:
                found += self._follow(module, item, hops)
            return found
        if self.path_of(f"{module_name}.{name}") is not None and module.is_package:
            return []
        for star in module.stars:
            if not self.is_ours(star):
                return []
            through = self.lookup(star, name, hops - 1)
            if through is not None:
                return through
        return [] if module.dynamic and not name.startswith("__") and _names_as_text(module, name) else None

    def origin(self, module_name: str, name: str, hops: int = _HOPS) -> tuple[str, str] | None:
        """The module and the name under which a global is defined, with imports followed."""
        module = self.module(module_name)
        if module is None or not hops:
            return None
        items = module.bound.get(name)
        if items:
            item = items[0]
            if item.kind != "import":
                return module_name, name
            if item.alias is None:
                return None
            if isinstance(item.node, ast.Import):
                return (item.alias.name if item.alias.asname else item.alias.name.partition(".")[0]), ""
            assert isinstance(item.node, ast.ImportFrom)
            source = self.absolute(module, item.node)
            if self.path_of(f"{source}.{item.alias.name}") is not None:
                inner = self.module(source)
                if inner is None or item.alias.name not in inner.bound:
                    return f"{source}.{item.alias.name}", ""
            if not self.is_ours(source):
                return source, item.alias.name
            return self.origin(source, item.alias.name, hops - 1) or (source, item.alias.name)
        for star in module.stars:
            through = self.origin(star, name, hops - 1)
            if through is not None:
                return through
        return None

    def class_at(self, module_name: str, path: str) -> ClassPlace | None:
        """A class by the name that a module has for it."""
        top, _, rest = path.partition(".")
        origin = self.origin(module_name, top)
        if origin is None or not origin[1]:
            return None
        module = self.module(origin[0])
        if module is None:
            return None
        full = f"{origin[1]}.{rest}" if rest else origin[1]
        nodes = [item.node for item in module.inventory.items.get(full, []) if item.kind == "class"]
        return ClassPlace(origin[0], full, nodes[0]) if len(nodes) == 1 and isinstance(nodes[0], ast.ClassDef) else None

    def bases(self, place: ClassPlace) -> tuple[list[ClassPlace], list[str]]:
        """The bases of a class that are here, and the text of those that are not."""
        here: list[ClassPlace] = []
        elsewhere: list[str] = []
        for base in place.node.bases:
            node = base.value if isinstance(base, ast.Subscript) else base
            text = ast.unparse(node)
            found = self.class_named(place.module, node)
            if found is not None and found.target != place.target:
                here.append(found)
            elif text not in ("object", "Generic", "Protocol", "ABC", "abc.ABC"):
                elsewhere.append(text)
        return here, elsewhere

    def lineage(self, place: ClassPlace, hops: int = _HOPS) -> tuple[list[ClassPlace], list[str]]:
        """A class and all that it inherits from, and the bases whose code is not here."""
        seen: dict[str, ClassPlace] = {}
        outside: list[str] = []
        waiting = [place]
        while waiting and len(seen) < 200:
            current = waiting.pop(0)
            if current.target in seen:
                continue
            seen[current.target] = current
            here, elsewhere = self.bases(current)
            waiting += here
            outside += elsewhere
        return list(seen.values()), list(dict.fromkeys(outside))

    def members(self, place: ClassPlace) -> dict[str, list[ast.AST]]:
        """What a class's own text gives its instances: what stands in it, and what its methods set on ``self``."""
        if place.target not in self._members:
            self._members[place.target] = members_of(place.node)
        return self._members[place.target]

    def method(self, place: ClassPlace, name: str) -> tuple[ClassPlace, ast.AST] | None:
        """What a method's name leads to, through the bases that are here."""
        for each in self.lineage(place)[0]:
            found = self.members(each).get(name)
            if found:
                return each, found[0]
        return None

    def subclasses(self, place: ClassPlace) -> list[ClassPlace]:
        """The classes that inherit from one, directly or not."""
        found: list[ClassPlace] = []
        waiting = [place]
        while waiting:
            current = waiting.pop()
            name = current.path.rpartition(".")[2]
            heading = re.compile(rf"class\s+\w+\s*\([^)]*\b{name}\b")
            for path in self.with_word(name):
                module = self.module_at(path) if heading.search(self.text(path) or "") else None
                if module is None:
                    continue
                for candidate in _classes_of(module):
                    if candidate.target in {each.target for each in (*found, place)}:
                        continue
                    if any(base.target == current.target for base in self.bases(candidate)[0]):
                        found.append(candidate)
                        waiting.append(candidate)
        return found

    def class_named(self, module: str, node: ast.expr) -> ClassPlace | None:
        """The class that an expression of names leads to."""
        if isinstance(node, ast.Name):
            return self.class_at(module, node.id)
        if isinstance(node, ast.Attribute):
            dotted = ast.unparse(node)
            first, _, rest = dotted.partition(".")
            origin = self.origin(module, first)
            if origin is None:
                return None
            if origin[1]:
                return self.class_at(origin[0], f"{origin[1]}.{rest}")
            base = origin[0]
            parts = rest.split(".")
            for count in range(len(parts) - 1, -1, -1):
                name = ".".join([base, *parts[:count]])
                if self.module(name) is not None:
                    return self.class_at(name, ".".join(parts[count:]))
        return None

    def module_named(self, module: Module, name: str) -> str:
        """The module that ``a.b.c`` is in a module; empty where it is none."""
        first, _, rest = name.partition(".")
        origin = self.origin(module.name, first)
        return "" if origin is None or origin[1] else f"{origin[0]}.{rest}".rstrip(".")

    def _follow(self, module: Module, item: Item, hops: int) -> list[Item]:
        if item.kind != "import" or item.alias is None or not isinstance(item.node, ast.ImportFrom):
            return [item]
        source = self.absolute(module, item.node)
        if not self.is_ours(source):
            return [item]
        found = self.lookup(source, item.alias.name, hops - 1)
        return found if found is not None else []


def _classes_of(module: Module) -> list[ClassPlace]:
    """The classes of a module that inherit anything."""
    listed = [item for items in module.inventory.items.values() for item in items]
    return [
        ClassPlace(module.name, item.path, item.node)
        for item in listed
        if isinstance(item.node, ast.ClassDef) and item.node.bases
    ]


def other_binding(code: Code, path: str, item: Item) -> str:
    """What binds the name of a release's item besides the item itself: an import, a loop, ``global``, ``del``."""
    module = code.module_at(path)
    if module is None:
        return ""
    if item.scope:
        rivals = [*module.inventory.items.get(f"import {item.path}", []), *module.inventory.items.get(item.path, [])]
        rivals += [
            each
            for items in module.inventory.items.values()
            for each in items
            if each.kind == "statement" and each.scope == item.scope and item.name in _bound_by(each.node)
        ]
    else:
        rivals = module.bound.get(item.path, [])
    for rival in rivals:
        if rival.node is not item.node and not rival.for_types_only:
            return ast.unparse(rival.node).partition("\n")[0][:60]
    if not item.scope:
        for node in ast.walk(module.inventory.tree):
            if isinstance(node, ast.Global) and item.name in node.names:
                return f"`global {item.name}` in a function"
            if isinstance(node, ast.Delete) and any(
                isinstance(t, ast.Name) and t.id == item.name for t in node.targets
            ):
                return ast.unparse(node)
    return ""


def read_module(code: Code, name: str) -> Module | None:
    """A module and what it binds; None where there is none, or where its text is no Python."""
    path = code.path_of(name) if code.is_ours(name) else None
    text = code.text(path) if path is not None else None
    if path is None or text is None:
        return None
    try:
        listed = inventory(text)
    except (SyntaxError, ValueError, RecursionError):
        return None
    module = Module(name, path, listed)
    for items in listed.items.values():
        for item in items:
            if item.scope:
                continue
            if item.kind == "import" and item.alias is not None:
                if item.alias.name == "*" and isinstance(item.node, ast.ImportFrom):
                    module.stars.append(code.absolute(module, item.node))
                    continue
                bound = item.alias.asname or (
                    item.alias.name if isinstance(item.node, ast.ImportFrom) else item.alias.name.partition(".")[0]
                )
                module.bound.setdefault(bound, []).append(item)
            elif item.kind == "statement":
                for bound in _bound_by(item.node):
                    module.bound.setdefault(bound, []).append(item)
            else:
                module.bound.setdefault(item.path, []).append(item)
    module.dynamic = "__getattr__" in module.bound
    return module


def _names_as_text(module: Module, name: str) -> bool:
    """Whether a module that makes up its attributes could make this one: it has to have the name as a text."""
    return any(isinstance(node, ast.Constant) and node.value == name for node in ast.walk(module.inventory.tree))


def code_of(roots: Iterable[str], versions: dict[str, str | None], packages: tuple[str, ...]) -> Code:
    """The code in folders and wheels; the first that has a file counts."""
    places = [_Place(root) for root in roots]
    known: dict[str, _Place] = {}
    for place in places:
        for path in place.paths(packages):
            known.setdefault(path, place)
    if not known:
        raise CarryError(
            f"{', '.join(place.root for place in places)}: there is no Python file of {' or '.join(packages)}"
        )

    def read(path: str) -> str | None:
        place = known.get(path)
        return place.text(path) if place is not None else None

    return Code(read, lambda: known, packages, versions)


def top_level(root: str) -> list[str]:
    """The packages that a folder or a wheel holds."""
    if os.path.isdir(root):
        entries = sorted(os.listdir(root))
        return [
            name for name in entries if name.isidentifier() and os.path.isfile(os.path.join(root, name, "__init__.py"))
        ]
    with zipfile.ZipFile(root) as archive:
        names = archive.namelist()
    return list(
        dict.fromkeys(
            name.partition("/")[0] for name in names if name.count("/") == 1 and name.endswith("/__init__.py")
        )
    )


class _Place:
    """One folder or one wheel."""

    def __init__(self, root: str) -> None:
        self.root = os.fspath(root)
        self._archive = None if os.path.isdir(self.root) else zipfile.ZipFile(self.root)

    def paths(self, packages: tuple[str, ...]) -> Iterator[str]:
        if self._archive is not None:
            for name in self._archive.namelist():
                if name.endswith(".py") and name.partition("/")[0] in packages:
                    yield name
            return
        for package in packages:
            for folder, folders, files in os.walk(os.path.join(self.root, package)):
                folders[:] = sorted(each for each in folders if each != "__pycache__")
                for file in sorted(files):
                    if file.endswith(".py"):
                        yield os.path.relpath(os.path.join(folder, file), self.root).replace(os.sep, "/")

    def text(self, path: str) -> str | None:
        from importlib.util import decode_source

        try:
            if self._archive is not None:
                return decode_source(self._archive.read(path))
            with open(os.path.join(self.root, path), "rb") as stream:
                return decode_source(stream.read())
        except (OSError, KeyError, SyntaxError, UnicodeDecodeError):
            return None


def members_of(node: ast.ClassDef) -> dict[str, list[ast.AST]]:
    """What stands in a class, and what its methods set on their first parameter."""
    found: dict[str, list[ast.AST]] = {}

    def take(body: list[ast.stmt]) -> None:
        for statement in body:
            if isinstance(statement, FunctionNode):
                found.setdefault(statement.name, []).append(statement)
                for name, value in _set_on_self(statement):
                    found.setdefault(name, []).append(value)
            elif isinstance(statement, ast.ClassDef):
                found.setdefault(statement.name, []).append(statement)
            elif isinstance(statement, (ast.If, ast.Try, ast.With)):
                for name in ("body", "orelse", "finalbody"):
                    take(getattr(statement, name, []))
                for handler in getattr(statement, "handlers", []):
                    take(handler.body)
            else:
                for name in _bound_by(statement):
                    found.setdefault(name, []).append(statement)
                if isinstance(statement, ast.Assign) and any(
                    isinstance(target, ast.Name) and target.id == "__slots__" for target in statement.targets
                ):
                    for constant in ast.walk(statement.value):
                        if isinstance(constant, ast.Constant) and isinstance(constant.value, str):
                            found.setdefault(constant.value, []).append(statement)

    take(node.body)
    return found


def _set_on_self(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[str, ast.AST]]:
    arguments = [*function.args.posonlyargs, *function.args.args]
    if not arguments:
        return
    first = arguments[0].arg
    for node in ast.walk(function):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
            and node.value.id == first
        ):
            yield node.attr, node
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("register_buffer", "register_parameter", "register_module", "add_module")
            and node.args
            and isinstance(node.args[0], ast.Constant)
            and isinstance(node.args[0].value, str)
        ):
            yield node.args[0].value, node


def _bound_by(node: ast.stmt) -> list[str]:
    """The names that a statement binds where it stands."""
    if isinstance(node, (*FunctionNode, ast.ClassDef)):
        return [node.name]
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [alias.asname or alias.name.partition(".")[0] for alias in node.names]
    names: list[str] = []
    for inner in ast.walk(node):
        if isinstance(inner, (*FunctionNode, ast.ClassDef)):
            names.append(inner.name)
        elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
            names.append(inner.id)
        elif isinstance(inner, (ast.Import, ast.ImportFrom)):
            names += [alias.asname or alias.name.partition(".")[0] for alias in inner.names]
    return names


def unguarded(tree: ast.AST) -> list[ast.AST]:
    """The nodes of a tree that run without a question about versions or features around them."""
    found: list[ast.AST] = []
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        found.append(node)
        if isinstance(node, (ast.If, ast.IfExp)) and any(
            word in ast.unparse(node.test) for word in ("version_is", "hasattr", "version", "TYPE_CHECKING")
        ):
            continue
        if isinstance(node, ast.Try):
            waiting += [*node.handlers, *node.orelse, *node.finalbody]
            caught = [ast.unparse(each.type) for each in node.handlers if each.type]
            if not any("Attribute" in each or "Import" in each for each in caught):
                waiting += node.body
            continue
        waiting += list(ast.iter_child_nodes(node))
    return found
