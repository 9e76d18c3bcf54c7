"""Fingerprints: a hash of a function's code as upstream wrote it, the same on every Python and in every formatting.

It is taken of the syntax tree without docstrings, positions and comments, either of a live function or, by name, of
source text that is never imported; both give the same answer for the same code.
"""

from __future__ import annotations

import ast
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache
from hashlib import sha256
from itertools import pairwise
from types import FunctionType
from typing import Any

from ascend_patches.upstream import distributions
from ascend_patches.upstream.same_code import compiles_to

_LENGTH = 16
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DOCUMENTED = (*_DEFINITIONS, ast.ClassDef)
_IGNORED_FIELDS = frozenset({"kind", "type_comment", "type_ignores"})


def of_node(node: ast.AST) -> str | None:
    """The fingerprint of a syntax tree, or None of one that is too deep to be gone through."""
    written: list[str] = []
    try:
        _write(node, written.append)
    except RecursionError:
        return None
    return sha256("".join(written).encode("utf-8", "surrogatepass")).hexdigest()[:_LENGTH]


def of_function(function: object) -> str | None:
    """The fingerprint of a live function, or None where its source is not to be had."""
    node = node_of_function(function)
    return of_node(node) if node is not None else None


def of_source(source: str, path: str) -> str | None:
    """The fingerprint of the definition at ``Class.attribute`` in source text, or None where there is none."""
    node = node_in_source(source, path)
    return of_node(node) if node is not None else None


def plain_function(value: object) -> FunctionType | None:
    """The function as it was written, below descriptors and decorators that say what they wrap."""
    seen: set[int] = set()
    while id(value) not in seen:
        seen.add(id(value))
        if isinstance(value, (staticmethod, classmethod)):
            value = value.__func__
        elif isinstance(value, property):
            value = value.fget
        elif "__wrapped__" in getattr(value, "__dict__", ()) or hasattr(type(value), "__wrapped__"):
            # Not of whatever answers to the name: there are objects that make up every attribute they are asked for.
            value = getattr(value, "__wrapped__", value)
    return value if isinstance(value, FunctionType) else None


def text_of_function(function: object) -> str | None:
    """The source lines of a live function, decorators included."""
    found = _block_of_function(function)
    return found[0] if found is not None else None


def node_of_function(function: object) -> ast.AST | None:
    """The syntax tree of a live function."""
    found = _block_of_function(function)
    return found[1] if found is not None else None


def node_in_source(source: str, path: str) -> ast.AST | None:
    """The one definition of a name in source text; None where it is missing or written in several ways."""
    *classes, name = path.split(".")
    body: list[ast.stmt] = parse(source).body
    for class_name in classes:
        found = [node for node in statements(body) if isinstance(node, ast.ClassDef) and node.name == class_name]
        if len(found) != 1:
            return None
        body = found[0].body
    return definition(body, name)


def definition(body: list[ast.stmt], name: str) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """The one definition of a function in a block; None where it is missing or written in several ways."""
    found = [
        node
        for node in statements(body)
        if isinstance(node, _DEFINITIONS) and node.name == name and not _is_accessory(node)
    ]
    return found[0] if len(found) == 1 else None


def source_file(module: str) -> str | None:
    """The file a module would be loaded from, found without importing it or any of its parents."""
    top, *rest = module.split(".")
    location = distributions.locate(top)
    if location is None:
        return None
    path = os.path.join(location, *rest)
    candidates = (os.path.join(path, "__init__.py"), f"{path}.py", location if not rest else "")
    return next(
        (candidate for candidate in candidates if candidate.endswith(".py") and os.path.isfile(candidate)),
        None,
    )


def read_source(file: str) -> str:
    """A source file as Python would decode it."""
    from importlib.util import decode_source

    with open(file, "rb") as stream:
        return decode_source(stream.read())


def _write(node: ast.AST, out: Callable[[str], None]) -> None:
    kind = type(node)
    out(f"{kind.__name__}(")
    for name in _that_count(kind._fields):
        field: Any = getattr(node, name, None)
        # What is absent is not written: later Pythons have fields that earlier ones lack.
        if field is None:
            continue
        if isinstance(field, ast.AST):
            if field._fields:
                out(f"{name}=")
                _write(field, out)
            else:
                out(f"{name}={type(field).__name__}()")
        elif isinstance(field, list):
            _write_list(name, _what_counts(kind, name, field), out)
        else:
            out(f"{name}={field!r}")
    out(")")


@cache
def _that_count(fields: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in fields if name not in _IGNORED_FIELDS)


def _write_list(name: str, items: list[Any], out: Callable[[str], None]) -> None:
    if items:
        out(f"{name}=[")
        for item in items:
            if isinstance(item, ast.AST):
                _write(item, out)
            else:
                out(repr(item))
            out(",")
        out("]")


def _what_counts(kind: type[ast.AST], name: str, items: list[Any]) -> list[Any]:
    """A list in the tree without what is no code, or is there in some Pythons only."""
    if name == "body" and kind in _DOCUMENTED and _has_docstring(items):
        return items[1:]
    if kind is ast.JoinedStr:
        # Some Pythons end a format with a piece of no text.
        return [piece for piece in items if not (isinstance(piece, ast.Constant) and piece.value == "")]
    return items


def _has_docstring(body: list[Any]) -> bool:
    first = body[0] if body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)


def parse(source: str) -> ast.Module:
    """The syntax tree of source text, or SyntaxError; without the warnings that are upstream's to give."""
    with warnings.catch_warnings():
        # An invalid escape in upstream's code is upstream's to warn about.
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source)
        except (RecursionError, MemoryError):
            raise SyntaxError("nested too deeply") from None


def _block_of_function(function: object) -> tuple[str, ast.AST] | None:
    plain = plain_function(function)
    if plain is None:
        return None
    code = plain.__code__
    around = _class_around(plain.__qualname__)
    header = f"class {around}:" if around.isidentifier() else "if True:"
    for block in _blocks(_lines_of_module(plain)[code.co_firstlineno - 1 :]):
        try:
            tree = parse(f"{header}\n{block}" if block[:1].isspace() else block)
        except (SyntaxError, ValueError):
            continue
        node = tree.body[0]
        if isinstance(node, (ast.ClassDef, ast.If)):
            node = node.body[0]
        if isinstance(node, _DEFINITIONS) and node.name == code.co_name and compiles_to(tree, code):
            return block, node
        return None
    return None


def _class_around(qualname: str) -> str:
    """The class whose private names a function sees, or nothing where there is none."""
    names = qualname.split(".")
    around = [name for name, inner in pairwise(names) if "<locals>" not in (name, inner)]
    return around[-1] if around else ""


def _blocks(lines: Sequence[str]) -> Iterator[str]:
    """The first lines, up to each place where the block that they begin could end, nearest first.

    A block cut too short does not parse: the cut is inside brackets, a string or a decorated definition. So the first
    one that parses is the whole.
    """
    if not lines:
        return
    indent = len(lines[0]) - len(lines[0].lstrip())
    for count in range(1, len(lines)):
        line = lines[count]
        text = line.lstrip()
        if text and not text.startswith("#") and len(line) - len(text) <= indent:
            yield "\n".join(lines[:count])
    yield "\n".join(lines)


def _lines_of_module(function: FunctionType) -> tuple[str, ...]:
    """The source lines of the module that a function was written in; none where they are not to be had."""
    names = function.__globals__
    get_source = getattr(names.get("__loader__"), "get_source", None)
    file = function.__code__.co_filename
    if get_source is None or names.get("__file__") != file:
        return ()
    try:
        status = os.stat(file)
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
    except OSError:  # in an archive, say
        stamp = None
    try:
        return _lines(get_source, names.get("__name__"), stamp)
    except (ImportError, OSError, SyntaxError, ValueError, TypeError):
        return ()


@lru_cache(maxsize=2)
def _lines(get_source: Callable[[Any], object], module: object, stamp: object) -> tuple[str, ...]:
    """A module's lines as its loader has them; a stamp says which edition, because several functions are looked at."""
    source = get_source(module)
    return tuple(source.split("\n")) if isinstance(source, str) else ()


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a block and of what it holds conditionally, but not of the definitions in it."""
    for statement in body:
        yield statement
        if not isinstance(statement, _DOCUMENTED):
            for name in ("body", "orelse", "finalbody"):
                yield from statements(getattr(statement, name, []))
            for handler in getattr(statement, "handlers", []):
                yield from statements(handler.body)


def _is_accessory(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether it only says more about another definition of its name: an overload, a property's setter."""
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Attribute) and decorator.attr in (
            "setter",
            "deleter",
            "overload",
        ):
            return True
        if isinstance(decorator, ast.Name) and decorator.id == "overload":
            return True
    return False
