"""What a definition uses of its surroundings: global names, attributes, calls; found in the text, nothing is run."""

from __future__ import annotations

import ast
import builtins
import copy
import symtable
from dataclasses import dataclass, field, replace
from functools import lru_cache

from ascend_patches.carrying.inventory import FunctionNode

BUILTINS = frozenset(dir(builtins)) | {"__file__", "__name__", "__doc__", "__package__", "__spec__", "__class__"}


WRAPS = ("staticmethod", "classmethod")

_LAUNCH_OPTIONS = frozenset(
    {
        *("num_warps", "num_stages", "num_ctas", "maxnreg", "multibuffer", "grid", "enable_linearize"),
        *("enable_auto_bind_sub_block", "unit_flag", "set_workspace_multibuffer", "hivm_mode"),
        "limit_auto_multi_buffer_only_for_local_buffer",
        "limit_auto_multi_buffer_of_local_buffer",
        *("tile_mix_vector_loop", "tile_mix_cube_loop", "enable_nd2nz_on_vector", "force_simt_only"),
    }
)


@dataclass(frozen=True)
class Attribute:
    """An attribute that is read: ``root`` is the dotted name before it, or nothing where that is an expression."""

    root: str
    name: str


@dataclass(frozen=True)
class Called:
    """A call, as far as a signature has to know it; ``count`` is None where arguments are unpacked into it."""

    callee: str
    count: int | None
    keywords: tuple[str, ...]
    starred_keywords: bool
    unpacked: int | None = None
    alone: bool = field(default=False, compare=False)
    """Whether it is a statement of its own, so that its result is not used."""


@dataclass
class Usage:
    """All that one definition uses."""

    globals: set[str] = field(default_factory=set)
    attributes: set[Attribute] = field(default_factory=set)
    calls: set[Called] = field(default_factory=set)
    imports: set[tuple[str, str]] = field(default_factory=set)
    stores: set[str] = field(default_factory=set)
    own_stores: set[str] = field(default_factory=set)
    """The attributes that it sets on its first parameter."""
    asked: set[tuple[str, bool]] = field(default_factory=set)
    """Names of attributes given as text, each with whether there is an answer for an object without it."""
    compared: set[tuple[str, str]] = field(default_factory=set)
    """Texts that something is compared with, each with the function whose result that is, if it is one."""
    keys: set[str] = field(default_factory=set)
    """Texts by which it reads items, which have to be there."""

    def __sub__(self, other: Usage) -> Usage:
        return Usage(
            self.globals - other.globals,
            self.attributes - other.attributes,
            self.calls - other.calls,
            self.imports - other.imports,
            self.stores - other.stores,
            self.own_stores - other.own_stores,
            self.asked - other.asked,
            self.compared - other.compared,
            self.keys - other.keys,
        )


@lru_cache(maxsize=8192)
def usage(node: ast.stmt, in_class: bool = False, future_annotations: bool = False) -> Usage:
    """What a definition uses that is not its own. Annotations count where they are evaluated.

    It is kept for the next one that asks: nobody changes it.
    """
    stripped = _without_annotations(copy.deepcopy(node), future_annotations)
    found = Usage(globals=_globals(stripped, in_class))
    guarded = _guarded_attributes(stripped)
    unpacked = _unpacked_calls(stripped)
    for inner in ast.walk(stripped):
        if isinstance(inner, ast.Attribute):
            if isinstance(inner.ctx, ast.Load):
                attribute = Attribute(dotted(inner.value), inner.attr)
                if (attribute.root, attribute.name) not in guarded:
                    found.attributes.add(attribute)
            else:
                found.stores.add(inner.attr)
                if in_class and dotted(inner.value) == _first_parameter(node):
                    found.own_stores.add(inner.attr)
        elif isinstance(inner, ast.Call):
            found.calls.add(_called(inner, unpacked.get(id(inner))))
            found.asked |= _asked(inner)
        elif isinstance(inner, ast.Compare):
            found.compared |= _compared(inner)
        elif isinstance(inner, ast.Subscript) and isinstance(inner.ctx, ast.Load):
            if _text(inner.slice) and dotted(inner.value) not in ("os.environ", "environ"):
                found.keys.add(_text(inner.slice))
        elif isinstance(inner, ast.ImportFrom) and not isinstance(node, ast.ImportFrom):
            found.imports |= {("." * inner.level + (inner.module or ""), alias.name) for alias in inner.names}
        elif isinstance(inner, ast.Import) and not isinstance(node, ast.Import):
            found.imports |= {(alias.name, "") for alias in inner.names}
    return found


def dotted(node: ast.AST) -> str:
    """``a.b.c`` as text; nothing where it is not made of names alone."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([node.id, *reversed(parts)])


def named_value(value: ast.expr) -> str:
    """A value that is a name, or a static or class method made of one, as text; empty where it is another."""
    inner = value
    if isinstance(value, ast.Call) and dotted(value.func) in WRAPS and len(value.args) == 1 and not value.keywords:
        inner = value.args[0]
    return ast.unparse(value) if dotted(inner) else ""


def local_names(node: ast.stmt) -> set[str]:
    """Every name that a definition binds itself, at any depth."""
    names: set[str] = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, (ast.Store, ast.Del)):
            names.add(inner.id)
        elif isinstance(inner, ast.arg):
            names.add(inner.arg)
        elif isinstance(inner, (*FunctionNode, ast.ClassDef)) and inner is not node:
            names.add(inner.name)
        elif isinstance(inner, ast.ExceptHandler):
            names |= {inner.name} if inner.name else set()
        elif isinstance(inner, (ast.Import, ast.ImportFrom)):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in inner.names}
    return names


def _globals(node: ast.stmt, in_class: bool) -> set[str]:
    body: list[ast.stmt] = [node]
    if in_class:
        shell = ast.parse("class _C:\n    pass").body[0]
        assert isinstance(shell, ast.ClassDef)
        shell.body = [node]
        body = [shell]
    text = ast.unparse(ast.fix_missing_locations(ast.Module(body=body, type_ignores=[])))
    try:
        table = symtable.symtable(text, "definition", "exec")
    except SyntaxError:
        return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
    found: set[str] = set()
    own = {name.get_name() for name in table.get_symbols() if name.is_assigned() and not in_class}
    _collect(table, found, True)
    found.discard("_C")
    # A name of the definition's own scope may be what it defines, as in a function that calls itself.
    return {name for name in found if name not in own or isinstance(node, FunctionNode)} - (
        {node.name} if isinstance(node, (*FunctionNode, ast.ClassDef)) and not in_class else set()
    )


def _collect(table: symtable.SymbolTable, found: set[str], top: bool) -> None:
    for symbol in table.get_symbols():
        if not symbol.is_referenced():
            continue
        if (
            symbol.is_global()
            or (top and not symbol.is_assigned())
            or (table.get_type() == "class" and not symbol.is_assigned() and not symbol.is_free())
        ):
            found.add(symbol.get_name())
    for child in table.get_children():
        _collect(child, found, False)


def _called(node: ast.Call, unpacked: int | None) -> Called:
    starred = any(isinstance(argument, ast.Starred) for argument in node.args)
    return Called(
        dotted(node.func) or (f"?.{node.func.attr}" if isinstance(node.func, ast.Attribute) else ""),
        None if starred else len(node.args),
        tuple(sorted(keyword.arg for keyword in node.keywords if keyword.arg)),
        any(keyword.arg is None for keyword in node.keywords),
        unpacked,
    )


def _unpacked_calls(node: ast.AST) -> dict[int, int]:
    """Calls whose result is taken apart into so many names."""
    found: dict[int, int] = {}
    for inner in ast.walk(node):
        if isinstance(inner, ast.Assign) and isinstance(inner.value, ast.Call):
            for target in inner.targets:
                if isinstance(target, (ast.Tuple, ast.List)) and not any(
                    isinstance(part, ast.Starred) for part in target.elts
                ):
                    found[id(inner.value)] = len(target.elts)
    return found


def _first_parameter(node: ast.stmt) -> str:
    if not isinstance(node, FunctionNode):
        return ""
    arguments = [*node.args.posonlyargs, *node.args.args]
    return arguments[0].arg if arguments else ""


def _text(node: ast.AST) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _compared(node: ast.Compare) -> set[tuple[str, str]]:
    """The texts of a comparison, each with what is called on the other side."""
    sides = [node.left, *node.comparators]
    called = next((each.func for each in sides if isinstance(each, ast.Call)), None)
    name = dotted(called) or f"?.{getattr(called, 'attr', '')}" if called is not None else ""
    parts = [
        part for side in sides for part in (side.elts if isinstance(side, (ast.Tuple, ast.List, ast.Set)) else [side])
    ]
    return {(name, _text(part)) for part in parts if _text(part)}


def _asked(node: ast.Call) -> set[tuple[str, bool]]:
    """The attributes that ``getattr``, ``hasattr`` and ``attrgetter`` ask for by their names."""
    name = dotted(node.func).rpartition(".")[2]
    if name in ("getattr", "hasattr", "delattr") and len(node.args) > 1 and _text(node.args[1]):
        return {(_text(node.args[1]), name == "hasattr" or len(node.args) > 2)}
    if name == "attrgetter":
        return {(part, False) for each in node.args for part in _text(each).split(".") if part}
    return set()


def _guarded_attributes(node: ast.AST) -> set[tuple[str, str]]:
    """Attributes that are asked for with ``hasattr`` in the same definition before they are read."""
    found: set[tuple[str, str]] = set()
    for inner in ast.walk(node):
        if (
            isinstance(inner, ast.Call)
            and isinstance(inner.func, ast.Name)
            and inner.func.id == "hasattr"
            and len(inner.args) == 2
            and isinstance(inner.args[1], ast.Constant)
            and isinstance(inner.args[1].value, str)
        ):
            found.add((dotted(inner.args[0]), inner.args[1].value))
    return found


def _without_annotations(node: ast.stmt, future: bool) -> ast.stmt:
    for inner in ast.walk(node):
        if future and isinstance(inner, ast.arg):
            inner.annotation = None
        if isinstance(inner, FunctionNode):
            if future:
                inner.returns = None
            inner.body = [_bare(statement) for statement in inner.body]
        elif isinstance(inner, (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.AsyncFor, ast.AsyncWith)):
            for name in ("body", "orelse", "finalbody"):
                block = getattr(inner, name, None)
                if isinstance(block, list):
                    setattr(inner, name, [_bare(statement) for statement in block])
    return node


def _bare(node: ast.stmt) -> ast.stmt:
    """A local annotated assignment without its annotation, which a function never evaluates."""
    if isinstance(node, ast.AnnAssign):
        if node.value is None:
            return ast.copy_location(ast.Pass(), node)
        return ast.copy_location(ast.Assign(targets=[node.target], value=node.value), node)
    return node


def imports_of(node: ast.stmt) -> set[tuple[str, str]]:
    """What an import names: modules, each with a name of theirs or with none."""
    if isinstance(node, ast.ImportFrom):
        return {("." * node.level + (node.module or ""), alias.name) for alias in node.names}
    if isinstance(node, ast.Import):
        return {(alias.name, "") for alias in node.names}
    return set()


def calls_in(node: ast.AST) -> list[Called]:
    """Every call in a definition; ``partial(function, ...)`` and ``kernel[grid](...)`` are calls of the function."""
    unpacked = _unpacked_calls(node)
    alone = {id(inner.value) for inner in ast.walk(node) if isinstance(inner, ast.Expr)}
    found = []
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call):
            called = _called(inner, unpacked.get(id(inner)))
            found.append(replace(called, alone=id(inner) in alone))
            if isinstance(inner.func, ast.Subscript) and dotted(inner.func.value):
                # A kernel is launched with options besides its parameters.
                named = tuple(each for each in called.keywords if each not in _LAUNCH_OPTIONS)
                found.append(replace(called, callee=dotted(inner.func.value), keywords=named, alone=True))
            partly = called.callee.rpartition(".")[2] in ("partial", "partialmethod")
            if partly and inner.args and dotted(inner.args[0]):
                found.append(replace(called, callee=dotted(inner.args[0]), count=None, unpacked=None, alone=True))
    return found
