"""Source code that is looked at and never imported: an installation's, a folder's, a wheel's.

A target is found as Python would find it, through the classes that its class inherits from and the modules that its
names were imported from, as far as these are written down in the source.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from ascend_patches.errors import AscendPatchesError
from ascend_patches.upstream import distributions, fingerprints
from ascend_patches.upstream.finding import Finding

if TYPE_CHECKING:
    from zipfile import ZipFile

_HOPS = 32


class Found(NamedTuple):
    """The definition behind a target, and where it is written."""

    node: ast.FunctionDef | ast.AsyncFunctionDef
    module: str
    source: str

    @property
    def text(self) -> str:
        """Its lines, decorators included."""
        first = min([self.node.lineno, *(decorator.lineno for decorator in self.node.decorator_list)])
        return "\n".join(self.source.split("\n")[first - 1 : self.node.end_lineno])


class Sources:
    """Modules by name, as source text. Subclasses know where the text is."""

    def __init__(self) -> None:
        self._parsed: dict[str, tuple[str, ast.Module] | None] = {}
        self._unreadable: dict[str, str] = {}
        """Modules that are there and cannot be read, each with the reason."""

    def read(self, module: str) -> str | None:
        """The text of a module, or None where there is none."""
        raise NotImplementedError

    def has(self, module: str) -> bool:
        """Whether there is such a module, with source or without."""
        return self._module(module) is not None or module in self._unreadable

    def modules(self, packages: Iterable[str]) -> Iterator[str]:
        """Every module with source within some packages, in the order of their names."""
        raise NotImplementedError

    def imported(self, module: str) -> dict[str, tuple[str, str]]:
        """By the name that it has in a module, what this takes from another by ``from ... import``."""
        return {
            alias.asname or alias.name: (self._absolute(module, node), alias.name)
            for node in self._imports(module)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }

    def find(self, target: str) -> Found | str:
        """The definition of a target, or in words why there is none."""
        module, _, path = target.partition(":")
        if self._module(module) is None:
            if module in self._unreadable:
                return f"{target}: {module} is there and cannot be read: {self._unreadable[module]}"
            return f"{target}: there is no module {module}"
        *classes, name = path.split(".")
        where: _Scope = _Scope(module, None)
        for class_name in classes:
            inner = self._class(where, class_name, _HOPS)
            if inner is None:
                return f"{target}: {where} has no class {class_name}"
            where = inner
        found = self._function(where, name, _HOPS)
        return found if found is not None else f"{target}: {where} has no function {name}"

    def look(self, target: str) -> Finding:
        """What a decision asks about a target."""
        module = target.partition(":")[0]
        if self._module(module) is None and module not in self._unreadable and self.has(module):
            return Finding("no source", f"no source of {module}")
        found = self.find(target)
        if isinstance(found, str):
            return Finding("absent", found)
        fingerprint = fingerprints.of_node(found.node)
        return Finding("code", fingerprint) if fingerprint else Finding("no source", "nested too deeply to be read")

    def tree(self, module: str) -> ast.Module | None:
        """The syntax tree of a module, or None where it has none that can be read."""
        parsed = self._module(module)
        return parsed[1] if parsed is not None else None

    def _module(self, name: str) -> tuple[str, ast.Module] | None:
        if name not in self._parsed:
            self._parsed[name] = None
            try:
                source = self.read(name)
                if source is not None:
                    self._parsed[name] = (source, fingerprints.parse(source))
            except (SyntaxError, ValueError, LookupError, OSError) as error:
                line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
                self._unreadable[name] = f"{getattr(error, 'msg', None) or error}{line}"
        return self._parsed[name]

    def _body(self, where: _Scope) -> list[ast.stmt]:
        parsed = self._module(where.module)
        return where.node.body if where.node is not None else parsed[1].body if parsed is not None else []

    def _class(self, where: _Scope, name: str, hops: int) -> _Scope | None:
        """A class by name: defined there, inherited, or imported from elsewhere."""
        nodes = fingerprints.statements(self._body(where))
        defined = [node for node in nodes if isinstance(node, ast.ClassDef) and node.name == name]
        if defined:
            return _Scope(where.module, defined[0]) if len(defined) == 1 else None
        if where.node is not None:
            return next(filter(None, (self._class(base, name, hops - 1) for base in self._bases(where, hops))), None)
        origin = self._imported_from(where.module, name) if hops else None
        return self._class(_Scope(origin[0], None), origin[1], hops - 1) if origin is not None else None

    def _function(self, where: _Scope, name: str, hops: int) -> Found | None:
        node = fingerprints.definition(self._body(where), name)
        parsed = self._module(where.module)
        if node is not None and parsed is not None:
            return Found(node, where.module, parsed[0])
        if where.node is not None:
            return next(filter(None, (self._function(base, name, hops - 1) for base in self._bases(where, hops))), None)
        origin = self._imported_from(where.module, name) if hops else None
        return self._function(_Scope(origin[0], None), origin[1], hops - 1) if origin is not None else None

    def _bases(self, where: _Scope, hops: int) -> Iterator[_Scope]:
        """The classes that a class names as its bases, depth first as Python looks through plain inheritance."""
        if where.node is None or hops <= 0:
            return
        for base in where.node.bases:
            if isinstance(base, ast.Subscript):
                base = base.value
            if isinstance(base, ast.Name):
                found = self._class(_Scope(where.module, None), base.id, hops - 1)
            elif isinstance(base, ast.Attribute) and isinstance(base.value, ast.Name):
                module = self._imported_module(where.module, base.value.id)
                found = self._class(_Scope(module, None), base.attr, hops - 1) if module is not None else None
            else:
                found = None
            if found is not None:
                yield found

    def _imported_from(self, module: str, name: str) -> tuple[str, str] | None:
        """Where ``from ... import name`` in a module takes a name from."""
        for node in self._imports(module):
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        return self._absolute(module, node), alias.name
        return None

    def _imported_module(self, module: str, name: str) -> str | None:
        for node in self._imports(module):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    if isinstance(node, ast.Import):
                        return alias.name
                    return f"{self._absolute(module, node)}.{alias.name}"
        return None

    def _imports(self, module: str) -> Iterator[ast.Import | ast.ImportFrom]:
        parsed = self._module(module)
        for node in fingerprints.statements(parsed[1].body if parsed is not None else []):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                yield node

    def _absolute(self, module: str, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        package = module.split(".")
        keep = len(package) - node.level + (1 if self._is_package(module) else 0)
        return ".".join([*package[:keep], *([node.module] if node.module else [])])

    def _is_package(self, module: str) -> bool:
        return False


class _Scope(NamedTuple):
    """A module, or a class in it."""

    module: str
    node: ast.ClassDef | None

    def __str__(self) -> str:
        return f"class {self.node.name}" if self.node is not None else f"module {self.module}"


class Installation(Sources):
    """What this interpreter would import."""

    def read(self, module: str) -> str | None:
        file = fingerprints.source_file(module)
        return fingerprints.read_source(file) if file is not None else None

    def has(self, module: str) -> bool:
        return distributions.has_module(module)

    def modules(self, packages: Iterable[str]) -> Iterator[str]:
        for package in packages:
            top, *rest = package.split(".")
            location = distributions.locate(top)
            if location is not None:
                files = _python_files(os.path.join(location, *rest))
                yield from (_module_of(f"{package.replace('.', '/')}/{file}") for file in files)

    @staticmethod
    def version(name: str) -> str | None:
        """The version of an installed package, without its local label."""
        provider = distributions.provider(name.replace("-", "_"))
        return provider.version.partition("+")[0] if provider is not None and provider.version else None

    def _is_package(self, module: str) -> bool:
        return os.path.basename(fingerprints.source_file(module) or "") == "__init__.py"


class Roots(Sources):
    """Folders and wheels, as they would follow each other on the path; the first that has a module counts."""

    def __init__(self, roots: Iterable[str | os.PathLike[str]]) -> None:
        super().__init__()
        self._roots = [_Root(os.fspath(root)) for root in roots]
        self.paths = tuple(root.path for root in self._roots)
        """The folders and wheels, in their order."""

    def read(self, module: str) -> str | None:
        found = self._file(module)
        if found is None:
            return None
        from importlib.util import decode_source

        root, name = found
        return decode_source(root.bytes(name))

    def modules(self, packages: Iterable[str]) -> Iterator[str]:
        for package in packages:
            folder = package.replace(".", "/")
            names = dict.fromkeys(name for root in self._roots for name in root.python_files(folder))
            yield from map(_module_of, sorted(names))

    def _is_package(self, module: str) -> bool:
        found = self._file(module)
        return found is not None and found[1].endswith("/__init__.py")

    def _file(self, module: str) -> tuple[_Root, str] | None:
        stem = module.replace(".", "/")
        names = (f"{stem}/__init__.py", f"{stem}.py")
        return next(((root, name) for root in self._roots for name in names if root.has(name)), None)


class _Root:
    """One folder or one wheel."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._archive: ZipFile | None = None
        if not os.path.isdir(path):
            from zipfile import BadZipFile, ZipFile

            try:
                self._archive = ZipFile(path)
            except (OSError, BadZipFile, EOFError, ValueError, NotImplementedError) as error:
                raise AscendPatchesError(f"{path}: neither a folder nor a wheel: {error}") from None
            self._names = frozenset(self._archive.namelist())

    def has(self, name: str) -> bool:
        if self._archive is not None:
            return name in self._names
        return os.path.isfile(os.path.join(self.path, name))

    def python_files(self, folder: str) -> list[str]:
        """The names of all Python files within a folder."""
        if self._archive is not None:
            return [name for name in self._names if name.startswith(f"{folder}/") and name.endswith(".py")]
        return [f"{folder}/{file}" for file in _python_files(os.path.join(self.path, folder))]

    def bytes(self, name: str) -> bytes:
        if self._archive is not None:
            from zipfile import BadZipFile
            from zlib import error as NotDeflated  # noqa: N812

            try:
                return self._archive.read(name)
            except (BadZipFile, NotDeflated, EOFError, NotImplementedError, RuntimeError) as error:
                raise AscendPatchesError(f"{self.path}: damaged, at {name}: {error}; fetch it again") from None
        with open(os.path.join(self.path, name), "rb") as stream:
            return stream.read()


def _python_files(folder: str) -> list[str]:
    """The Python files within a folder, by their paths in it, with "/"."""
    found = [os.path.join(path, file) for path, _, files in os.walk(folder) for file in files if file.endswith(".py")]
    return sorted(os.path.relpath(file, folder).replace(os.sep, "/") for file in found)


def _module_of(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
