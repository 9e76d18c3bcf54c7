"""What a function was called with, in the words of a message: shapes, types and places, and the lengths themselves."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ascend_patches.shadow.kinds import is_tensor

_LONGEST = 900
_FEW = 32


def call(function: Callable[..., Any] | None, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """The arguments of a call by name, without the instance."""
    parts = [f"{name} {value_of(value)}" for name, value in _named(function, args, kwargs) if name != "self"]
    text = ", ".join(parts)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def value_of(value: Any) -> str:
    """One argument: of a tensor its form, and its values where they are few whole numbers, as lengths are."""
    if is_tensor(value):
        form = f"{list(value.shape)} {str(value.dtype).removeprefix('torch.')} {value.device}"
        lengths = value.dim() <= 1 and value.numel() <= _FEW and not value.is_floating_point()
        return f"{form} {value.tolist()}" if lengths else form
    if isinstance(value, (list, tuple)) and any(map(is_tensor, value)):
        return f"[{', '.join(map(value_of, value))}]"
    if isinstance(value, (int, float, str, list, tuple)) or value is None:
        text = repr(value)
        return text if len(text) <= 200 else f"{text[:197]}..."
    return f"a {type(value).__qualname__}"


def _named(
    function: Callable[..., Any] | None, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> list[tuple[str, Any]]:
    try:
        names = list(inspect.signature(function).parameters)[: len(args)] if function is not None else []
    except (TypeError, ValueError):
        names = []
    names += [str(place) for place in range(len(names), len(args))]
    return [*zip(names, args, strict=True), *kwargs.items()]
