"""Give an existing dataclass further fields, and take them away again: one step, like every replacement.

The dataclass decorator writes a constructor and other methods from the fields of a class. It writes them once more, for
the old fields and the new ones together, and the class gets what it wrote. Fields that are added stand last.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import gc
import sys
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType
from typing import Any

from ascend_patches.declaring.carried import Carried
from ascend_patches.declaring.target import Target
from ascend_patches.errors import TargetError
from ascend_patches.replacing.fields_site import FIELDS
from ascend_patches.replacing.find import ABSENT, Found, function_of, owner_of
from ascend_patches.upstream.fingerprints import parse

_ANNOTATIONS = "__annotations__"
_OF_INSTANCES: Any = vars(dataclasses)["_FIELD"]
_OF_CONSTRUCTORS: Any = vars(dataclasses)["_FIELD_INITVAR"]
_WRITTEN = ("__init__", "__repr__", "__eq__", "__hash__", "__lt__", "__le__", "__gt__", "__ge__", "__match_args__")
"""What the decorator makes of the fields."""


def find_fields(rewrite: Carried) -> Found:
    """The class and its fields; TargetError where it is not as it has to be."""
    owner, _ = owner_of(rewrite.target, sys.modules[rewrite.module])
    fields = vars(owner).get(FIELDS)
    if not isinstance(owner, type) or not isinstance(fields, dict):
        raise TargetError(f"{rewrite.target}: its owner is no dataclass")
    own = [name for name in vars(owner).get(_ANNOTATIONS, {}) if name in fields]
    if own != _listed(rewrite.was):
        raise TargetError(
            f"{rewrite.target}: its fields are {', '.join(own)}, and the change was made to {rewrite.was}"
        )
    there = [name for name in _listed(rewrite.value) if name in fields or name in vars(owner)]
    if there:
        raise TargetError(f"{rewrite.target}: the change adds the field {there[0]}, and it is there already")
    unfit = _unfit(owner, fields)
    if unfit:
        raise TargetError(f"{rewrite.target}: {unfit}")
    return Found(owner, FIELDS, fields, False)


def make(rewrite: Carried, found: Found, made: Mapping[Target, Any]) -> dict[str, Any]:
    """What is to stand in the class, by its name: the fields, and what the decorator makes of them."""
    owner = found.owner
    assert isinstance(owner, type)
    body = _body(rewrite, made)
    new = {name: body[_ANNOTATIONS][name] for name in _listed(rewrite.value)}
    written = _written(owner, found.value, new, body)
    as_it_was = _written(owner, found.value, {}, {})
    names: dict[str, Any] = {
        name: vars(written)[name] for name in _WRITTEN if _is_written(vars(owner).get(name, ABSENT), name, as_it_was)
    }
    bare = [name for name in new if name not in vars(written)]
    there = _instances(owner) if bare else 0
    if there:
        raise TargetError(f"{rewrite.target}: {there} instances were made before, which would have no {bare[0]}")
    names[FIELDS] = {**found.value, **{name: vars(written)[FIELDS][name] for name in new}}
    names[_ANNOTATIONS] = {**vars(owner).get(_ANNOTATIONS, {}), **new}
    return names | {name: vars(written)[name] for name in new if name in vars(written)}


def _unfit(owner: type, fields: Mapping[str, Any]) -> str:
    """Why a class cannot be given further fields; empty where it can."""
    parameters = vars(owner)["__dataclass_params__"]
    if parameters.frozen or "__slots__" in vars(owner) or not parameters.init:
        return "it is a dataclass that is frozen, has slots, or has no constructor of its fields"
    if any(each._field_type is _OF_CONSTRUCTORS for each in fields.values()):
        return "its constructor takes more than its fields"
    heir: type | None = next((each for each in _heirs(owner) if FIELDS in vars(each)), None)
    if heir is not None:
        return f"{heir.__qualname__} inherits its fields, and was made of the old ones"
    made = _is_written(vars(owner).get("__init__", ABSENT), "__init__", _written(owner, fields, {}, {}))
    return "" if made else "it has a constructor of its own"


def _heirs(owner: type) -> Iterator[type]:
    """The classes that inherit from one, directly or not."""
    each: type
    for each in type.__subclasses__(owner):
        yield each
        yield from _heirs(each)


def _instances(owner: type) -> int:
    """How many instances of a class there are; a search through all objects, for what has no value in the class."""
    objects: list[object] = gc.get_objects()
    return sum(1 for each in objects if owner in type(each).__mro__)


def _is_written(value: Any, name: str, like: type) -> bool:
    """Whether the decorator made a member of a class; what a class says itself, or was given since, it leaves alone.

    ``like`` is a class that the decorator has just written the same members for.
    """
    there = vars(like).get(name, ABSENT)
    if name == "__match_args__":
        return isinstance(value, tuple) and value == there
    mine, its = (_function_in(each, name) for each in (value, there))
    if not isinstance(mine, FunctionType) or not isinstance(its, FunctionType):
        return False
    codes = mine.__code__, its.__code__
    return codes[0].co_filename == codes[1].co_filename and _shape(codes[0]) == _shape(codes[1])


def _function_in(value: Any, name: str) -> Any:
    inner: Any = function_of(value)
    # The decorator keeps this one from calling itself.
    return getattr(inner, "__wrapped__", inner) if name == "__repr__" else inner


def _shape(code: CodeType) -> tuple[Any, ...]:
    return code.co_code, code.co_names, code.co_varnames, code.co_freevars


def _written(owner: type, fields: Mapping[str, Any], new: Mapping[str, Any], body: Mapping[str, Any]) -> type:
    """A class of its own with the old fields and the new ones, which the decorator writes its methods for."""
    parameters = vars(owner)["__dataclass_params__"]
    old = {name: each for name, each in fields.items() if each._field_type is _OF_INSTANCES}
    namespace: dict[str, Any] = {name: copy.copy(each) for name, each in old.items()}
    namespace |= {name: body[name] for name in new}
    namespace[_ANNOTATIONS] = {**{name: each.type for name, each in old.items()}, **new}
    namespace |= {"__module__": owner.__module__, "__qualname__": owner.__qualname__}
    if hasattr(owner, "__post_init__"):
        namespace["__post_init__"] = owner.__post_init__
    asked = {
        name: getattr(parameters, name)
        for name in ("init", "repr", "eq", "order", "unsafe_hash", "match_args", "kw_only")
        if hasattr(parameters, name)
    }
    return dataclasses.dataclass(**asked)(type(owner.__name__, (), namespace))


def _body(rewrite: Carried, made: Mapping[Target, Any]) -> dict[str, Any]:
    """What the new fields' own statements give, run in a class of that name in upstream's module."""
    try:
        with open(rewrite.file, encoding="utf-8") as stream:
            tree = parse(stream.read())
    except (OSError, SyntaxError) as error:
        raise TargetError(f"{rewrite.target}: its code cannot be read: {error}") from None
    *classes, _ = rewrite.path.split(".")
    body = tree.body
    for name in classes:
        inner = [node for node in body if isinstance(node, ast.ClassDef) and node.name == name]
        body = inner[0].body if inner else []
    wanted = _listed(rewrite.value)
    found = [each for each in body if isinstance(each, ast.AnnAssign) and ast.unparse(each.target) in wanted]
    if [ast.unparse(each.target) for each in found] != wanted or not all(each.value for each in found):
        raise TargetError(f"{rewrite.target}: {rewrite.file} does not define {rewrite.value} with defaults")
    around = ast.parse(f"class {classes[-1]}: pass").body[0]
    assert isinstance(around, ast.ClassDef)
    around.body = [*found]
    future = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    module = ast.fix_missing_locations(ast.Module(body=[*future, around], type_ignores=[]))
    coming = {target.path: value for target, value in made.items() if target.module == rewrite.home}
    exec(compile(module, rewrite.file, "exec", dont_inherit=True), sys.modules[rewrite.home].__dict__, coming)
    return dict(vars(coming[classes[-1]]))


def _listed(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]
