"""Advice around a target, built on wrapt, that can be pickled by reference as a plain function can."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import wrapt

Advice = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]


class _Bound(wrapt.BoundFunctionWrapper):  # type: ignore[type-arg]
    def __reduce_ex__(self, protocol: Any) -> Any:
        target = self._self_parent._self_target
        bound_to = getattr(self.__wrapped__, "__self__", None)
        if bound_to is None:  # a function reached through its class
            return at, (target,)
        return getattr, (bound_to, target.rpartition(":")[2].rpartition(".")[2])


class Advised(wrapt.FunctionWrapper):  # type: ignore[type-arg]
    """A target with advice around it; ``target`` is where unpickling finds it again."""

    __bound_function_wrapper__ = _Bound

    def __init__(self, target: str, wrapped: Any, advice: Advice) -> None:
        super().__init__(wrapped, advice)
        self._self_target = target

    def __reduce_ex__(self, protocol: Any) -> Any:
        return at, (self._self_target,)


def advised(target: str, value: Any, advice: Advice) -> Any:
    """What takes the place of ``value`` so that calls of it go through the advice."""
    if isinstance(value, property):
        return property(Advised(target, value.fget, advice), value.fset, value.fdel, value.__doc__)
    return Advised(target, value, advice)


def at(target: str) -> Any:
    """What stands at a target now."""
    module, _, path = target.partition(":")
    found: Any = importlib.import_module(module)
    *classes, name = path.split(".")
    for class_name in classes:
        found = getattr(found, class_name)
    return found.__dict__[name]
