"""Keep the nature of a target: what descriptors and decorators of upstream made of a function, they make of ours.

A decorator leaves a function that holds the decorated one in its closure. A copy of it that holds ours is what the
decorator would have made of ours. What cannot be kept is refused, with the reason.
"""

from __future__ import annotations

import functools
from itertools import pairwise
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodDescriptorType, WrapperDescriptorType
from typing import Any, ForwardRef

from ascend_patches.errors import TargetError

_LRU_CACHE = type(functools.lru_cache(print))
_BUILTIN = (BuiltinFunctionType, MethodDescriptorType, WrapperDescriptorType)


class NatureError(TargetError):
    """The nature of a target cannot be kept."""


def made_like(value: Any, function: Any) -> Any:
    """What upstream's decorators would have made of ``function``, where they made ``value`` of upstream's."""
    kind = type(value)  # not isinstance: advice passes for what it is around
    if kind in (staticmethod, classmethod):
        return kind(made_like(value.__func__, function))
    if kind is property:
        return property(made_like(value.fget, function), value.fset, value.fdel, value.__doc__)
    if kind is _LRU_CACHE:
        cached = functools.lru_cache(**value.cache_parameters())(made_like(value.__wrapped__, function))
        return _with_attributes(cached, value, value.__wrapped__)
    if kind is FunctionType and _is_single_dispatch(value):
        raise NatureError("is a singledispatch function, whose registered implementations a replacement would lose")
    if kind is FunctionType and "__wrapped__" in value.__dict__:
        return _redecorated(value, function)
    if kind is FunctionType or kind in _BUILTIN:
        return function
    raise NatureError(f"is no function but a {kind.__module__}.{kind.__qualname__}, which no function can stand in for")


def is_decorated(value: Any) -> bool:
    """Whether a decorator made something else of a function than a method or a property."""
    if isinstance(value, (staticmethod, classmethod)):
        return is_decorated(value.__func__)
    if isinstance(value, property):
        return is_decorated(value.fget)
    return "__wrapped__" in getattr(value, "__dict__", ())


def calls_super_in_vain(code: CodeType) -> bool:
    """Whether a function calls ``super()`` and was not written in a class, so that every such call would fail."""
    if "super" not in code.co_names or "__class__" in code.co_freevars:
        return False
    from dis import get_instructions

    passed_over = ("PUSH_NULL", "PRECALL", "CACHE")
    steps = [step for step in get_instructions(code) if step.opname not in passed_over]
    return any(
        first.argval == "super" and second.opname.startswith("CALL") and second.arg == 0
        for first, second in pairwise(steps)
    )


def closure_in(function: FunctionType, owner: object) -> tuple[CellType, ...] | None:
    """A function's closure, where ``super()`` is that of the class which the function is put into."""
    if function.__closure__ is None or not isinstance(owner, type):
        return function.__closure__
    cells = zip(function.__code__.co_freevars, function.__closure__, strict=True)
    return tuple(CellType(owner) if name == "__class__" else cell for name, cell in cells)


def annotations_of(original: FunctionType, function: FunctionType) -> dict[str, Any]:
    """Upstream's annotations, such that they mean what they mean upstream, and ours for what it has none."""
    theirs = {name: _in_its_module(value, original, function) for name, value in original.__annotations__.items()}
    return {**function.__annotations__, **theirs}


def _in_its_module(annotation: Any, original: FunctionType, function: FunctionType) -> Any:
    if not isinstance(annotation, str):
        return annotation
    try:
        names = compile(annotation, "annotation", "eval").co_names
    except SyntaxError:
        return annotation
    missing = object()
    theirs, ours = original.__globals__, function.__globals__
    if all(theirs.get(name, missing) is ours.get(name, missing) for name in names):
        return annotation
    return ForwardRef(annotation, module=original.__module__)


def _redecorated(wrapper: FunctionType, function: Any) -> Any:
    inner = wrapper.__wrapped__  # type: ignore[attr-defined]
    ours = made_like(inner, function)
    cells = wrapper.__closure__ or ()
    if not any(_content(cell) is inner for cell in cells):
        name = f"{wrapper.__globals__.get('__name__')}.{wrapper.__code__.co_name}"
        raise NatureError(f"is decorated by {name}, which keeps it where no replacement can be put")
    closure = tuple(CellType(ours) if _content(cell) is inner else cell for cell in cells)
    made = FunctionType(wrapper.__code__, wrapper.__globals__, wrapper.__name__, wrapper.__defaults__, closure)
    made.__kwdefaults__ = wrapper.__kwdefaults__
    functools.update_wrapper(made, ours)
    return _with_attributes(made, wrapper, inner)


def _with_attributes(made: Any, like: Any, inner: Any) -> Any:
    """What a decorator has set on its result, where that is not the decorated function itself."""
    for name, value in like.__dict__.items():
        if name != "__wrapped__":
            made.__dict__[name] = made.__wrapped__ if value is inner else value
    return made


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _is_single_dispatch(function: FunctionType) -> bool:
    return {"registry", "dispatch", "register"} <= function.__dict__.keys()
