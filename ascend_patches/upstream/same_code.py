"""Whether a live function is what source text compiles to, so that a file that changed after its import is noticed."""

from __future__ import annotations
import __future__

import ast
import sys
from collections.abc import Iterator
from itertools import combinations
from opcode import opname
from types import CodeType

_FIELDS = (
    "co_names",
    "co_varnames",
    "co_cellvars",
    "co_freevars",
    "co_argcount",
    "co_posonlyargcount",
    "co_kwonlyargcount",
)
# Not all of the bytecode is compared: how something global is called depends on what else is in the module. What a
# function computes and decides does not.
_STEPS = (
    *("BINARY_", "INPLACE_", "COMPARE_", "UNARY_", "IS_", "CONTAINS_", "BUILD_", "LIST_", "SET_", "MAP_", "DICT_"),
    *("UNPACK_", "MATCH_", "FORMAT_", "CONVERT_", "LOAD_CONST", "LOAD_FAST", "STORE_", "DELETE_", "IMPORT_"),
    *("RAISE_", "RETURN_", "YIELD_", "GET_"),
)
_JUMPS = ("POP_JUMP_", "JUMP_IF_", "FOR_ITER")
_COMPARED = {code: name.startswith(_STEPS) for code, name in enumerate(opname) if name.startswith(_STEPS + _JUMPS)}
_KIND = 0x04 | 0x08 | 0x20 | 0x80 | 0x200  # of co_flags: variadic, generator, coroutine
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_OPTIMIZED = 0x01  # inspect.CO_OPTIMIZED, which is not worth importing inspect for
_FUTURES = __future__.annotations.compiler_flag
# A call with so many arguments is made by way of a dictionary, and how many that are depends on whether its module
# imports the name that it begins with.
_LARGE_CALL = 30
_MOST_IMPORTED = 4


def compiles_to(tree: ast.Module, code: CodeType) -> bool:
    """Whether a syntax tree, compiled where the names that ``code`` closes over exist, does what that code does."""
    if _compiles_to(tree, code, ()):
        return True
    large = _large_call_names(tree)[:_MOST_IMPORTED]
    subsets = (subset for count in range(len(large), 0, -1) for subset in combinations(large, count))
    return any(_compiles_to(tree, code, imported) for imported in subsets)


def _compiles_to(tree: ast.Module, code: CodeType, imported: tuple[str, ...]) -> bool:
    """Whether a tree does what code does, where its module imports some names."""
    try:
        compiled = _compiled(tree, code, imported)
    except (SyntaxError, ValueError, RecursionError):
        return False
    found = next((inner for inner in _functions_in(compiled) if inner.co_name == code.co_name), None)
    return found is not None and _same(found, code)


def _large_call_names(tree: ast.Module) -> list[str]:
    """The names on which large calls of attributes are made."""
    names = [
        node.func.value.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and len(node.args) + 2 * len(node.keywords) > _LARGE_CALL
    ]
    return list(dict.fromkeys(names))


def _compiled(tree: ast.Module, code: CodeType, imported: tuple[str, ...]) -> CodeType:
    first = tree.body[0]
    enclosed = [name for name in code.co_freevars if name.isidentifier() and name != "__class__"]
    if enclosed:
        enclosing = ast.parse(f"def _enclosing_({', '.join(enclosed)}): pass")
        assert isinstance(enclosing.body[0], ast.FunctionDef)
        # The class around a method is no name that an enclosing function would have.
        unbound = [first.name] if isinstance(first, ast.ClassDef) and first.name not in enclosed else []
        enclosing.body[0].body = [*([ast.Global(unbound)] if unbound else []), *tree.body]
        tree = ast.fix_missing_locations(enclosing)
    if sys.version_info >= (3, 13):  # which has the first line of an inner class among the constants
        ast.increment_lineno(first, code.co_firstlineno - (1 if isinstance(first, _DEFINITIONS) else 2))
    if imported:
        imports = ast.parse(f"import {', '.join(imported)}").body
        tree = ast.Module([*imports, *tree.body], [])
    compiled: CodeType = compile(tree, code.co_filename, "exec", code.co_flags & _FUTURES, dont_inherit=True)
    return compiled


def _functions_in(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_flags & _OPTIMIZED:  # what a class body is not
                yield constant
            yield from _functions_in(constant)


def _same(one: object, other: object) -> bool:
    if isinstance(one, CodeType) and isinstance(other, CodeType):
        fields = all(getattr(one, field) == getattr(other, field) for field in _FIELDS)
        kinds = one.co_flags & _KIND == other.co_flags & _KIND
        steps = one.co_code == other.co_code or _steps(one) == _steps(other)
        return fields and kinds and steps and _same(one.co_consts, other.co_consts)
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, frozenset) and isinstance(other, frozenset):
        return {(type(item), item) for item in one} == {(type(item), item) for item in other}
    return type(one) is type(other) and _inside(repr(one)) == _inside(repr(other))


def _steps(code: CodeType) -> list[tuple[int, int]]:
    instructions = zip(code.co_code[::2], code.co_code[1::2], strict=True)
    return [(step, argument if _COMPARED[step] else 0) for step, argument in instructions if step in _COMPARED]


def _inside(constant: str) -> str:
    """Python 3.10 has the qualified names of inner functions among the constants; what is around them is not ours."""
    return constant.rpartition(".<locals>.")[2]
