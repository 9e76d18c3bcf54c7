"""Find what is to be replaced, without running anything that a lookup could run."""

from __future__ import annotations

import ast
from types import FunctionType, ModuleType
from typing import Any

from ascend_patches.basics.value import Value
from ascend_patches.declaring.target import Target
from ascend_patches.errors import TargetError
from ascend_patches.upstream.fingerprints import node_of_function, plain_function


class _Absent:
    """What a class has under a name that it only inherits."""

    def __repr__(self) -> str:
        return "inherited"


ABSENT = _Absent()


class Found(Value):
    """A target as it stands: the module or class it is set on, and what is there."""

    owner: ModuleType | type
    name: str
    value: Any
    inherited: bool


def find(target: Target, module: ModuleType) -> Found:
    """The target in its module."""
    owner, attribute = owner_of(target, module)
    value = _lookup(owner, attribute)
    if value is ABSENT:
        raise TargetError(f"{target}: {_called(owner, target.module)} has no {attribute}")
    if not callable(value) and not isinstance(value, (staticmethod, classmethod, property)):
        raise TargetError(f"{target}: is no function but {type(value).__name__}")
    return Found(owner, attribute, value, attribute not in owner.__dict__)


def owner_of(target: Target, module: ModuleType) -> tuple[ModuleType | type, str]:
    """The module or class that a target is set on, and the name there."""
    *classes, attribute = target.path.split(".")
    owner: ModuleType | type = module
    for class_name in classes:
        value = _lookup(owner, class_name)
        if not isinstance(value, type):
            what = "has no class" if value is ABSENT else "has something that is not a class under the name"
            raise TargetError(f"{target}: {_called(owner, target.module)} {what} {class_name}")
        owner = value
    return owner, attribute


def foreign_wrapper(value: Any) -> str:
    """Whose wrapper is on upstream's function, put there by none of upstream's decorators; empty if there is none."""
    upstream = plain_function(value)
    if upstream is None or upstream is function_of(value):
        return ""
    node = node_of_function(upstream)
    decorators = {ast.unparse(each) for each in getattr(node, "decorator_list", ())}
    if node is None or decorators - {"staticmethod", "classmethod", "property"}:
        return ""
    return author(value)


def function_of(value: Any) -> Any:
    if isinstance(value, (staticmethod, classmethod)):
        return value.__func__
    return value.fget if isinstance(value, property) else value


def author(value: Any) -> str:
    """Who wrote what is called, by the code: a wrapper has copied __module__, and __wrapped__ leads past it."""
    value = function_of(value)
    function = getattr(value, "_self_wrapper", value)
    if type(function) is not FunctionType:
        return f"a {type(value).__module__}.{type(value).__qualname__}"
    code = function.__code__
    return f"{function.__globals__.get('__name__')} ({code.co_filename}:{code.co_firstlineno})"


def _lookup(owner: ModuleType | type, name: str) -> Any:
    for namespace in owner.__mro__ if isinstance(owner, type) else (owner,):
        if name in namespace.__dict__:
            return namespace.__dict__[name]
    return ABSENT


def _called(owner: ModuleType | type, module: str) -> str:
    return f"class {owner.__qualname__}" if isinstance(owner, type) else f"module {module}"
