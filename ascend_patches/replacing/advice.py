"""Advice around a target, built on wrapt, that can be pickled by reference and copied as a plain function can."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable
from typing import Any

import wrapt

Advice = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]


class _Bound(wrapt.BoundFunctionWrapper):  # type: ignore[type-arg]
    """What is reached through a class or an instance; as a method, it is its object's name for it."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        bound_to = self._bound_to()
        return (at, (self._target(),)) if bound_to is None else (getattr, (bound_to, self._name()))

    def __copy__(self) -> _Bound:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        bound_to = self._bound_to()
        return self if bound_to is None else getattr(copy.deepcopy(bound_to, memo), self._name())

    def _bound_to(self) -> Any:
        return getattr(self.__wrapped__, "__self__", None)

    def _target(self) -> str:
        return str(self._self_parent._self_target)

    def _name(self) -> str:
        return self._target().rpartition(":")[2].rpartition(".")[2]


class Advised(wrapt.FunctionWrapper):  # type: ignore[type-arg]
    """A target with advice around it; ``target`` is where unpickling finds it again."""

    __bound_function_wrapper__ = _Bound

    def __init__(self, target: str, wrapped: Any, advice: Advice) -> None:
        super().__init__(wrapped, advice)
        self._self_target = target

    def __reduce_ex__(self, protocol: Any) -> Any:
        return at, (self._self_target,)

    def __copy__(self) -> Advised:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Advised:
        return self


class _AdvisedGetter(Advised):
    """The function below a property, which gets its instance as an argument."""

    def __call__(self, instance: Any) -> Any:
        return self.__get__(instance, type(instance))()


def advised(target: str, value: Any, advice: Advice) -> Any:
    """What takes the place of ``value`` so that calls of it go through the advice."""
    if isinstance(value, property):
        return property(_AdvisedGetter(target, value.fget, advice), value.fset, value.fdel, value.__doc__)
    return Advised(target, value, advice)


def at(target: str) -> Any:
    """What is reached at a target now."""
    module, _, path = target.partition(":")
    found: Any = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    return found
