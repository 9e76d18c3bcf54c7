"""Compare signatures: whether a replacement can take every call that the original takes."""

from __future__ import annotations

from types import FunctionType
from typing import Any

from ascend_patches.basics.value import Value
from ascend_patches.replacing.find import ABSENT

_GENERATOR_OR_COROUTINE = 0x20 | 0x80 | 0x100 | 0x200


def signature_difference(original: FunctionType, replacement: FunctionType) -> str:
    """How the replacement cannot take a call that the original takes; empty if it can take all of them.

    Every parameter keeps its name, kind, place and default; only parameters with a default may be added at the end.
    """
    nature = original.__code__.co_flags & _GENERATOR_OR_COROUTINE
    if nature != replacement.__code__.co_flags & _GENERATOR_OR_COROUTINE:
        return "one of the two is a coroutine or a generator and the other is not"
    theirs, ours = _parameters(original), _parameters(replacement)
    for kind in dict.fromkeys((*theirs, *ours)):
        upstream, here = theirs.get(kind, []), ours.get(kind, [])
        if kind == "keyword-only":
            names = [parameter.name for parameter in upstream]
            here = sorted(here, key=lambda one: names.index(one.name) if one.name in names else len(names))
        for index, parameter in enumerate(upstream):
            # What gathers the rest has no name that a caller could use.
            named_alike = index < len(here) and (here[index].name == parameter.name or kind.startswith("variadic"))
            if not named_alike:
                found = f"it has {here[index].name!r} in its place" if index < len(here) else "it has none"
                return f"upstream's {kind} parameter {parameter.name!r} is missing: {found}"
            if not _same_default(here[index].default, parameter.default):
                return (
                    f"the default of {parameter.name!r} is {_shown(parameter.default)} upstream "
                    f"and {_shown(here[index].default)} in the replacement"
                )
        for added in here[len(upstream) :]:
            if added.default is ABSENT and not kind.startswith("variadic"):
                return f"its parameter {added.name!r} is not upstream's and has no default"
            if kind == "positional" and ("variadic positional" in theirs or theirs.get("keyword-only")):
                return f"its parameter {added.name!r} would take a value that upstream takes otherwise"
    return ""


class _Parameter(Value):
    name: str
    default: Any


def _parameters(function: FunctionType) -> dict[str, list[_Parameter]]:
    code = function.__code__
    names = code.co_varnames
    count, positional_only = code.co_argcount, code.co_posonlyargcount
    defaults = function.__defaults__ or ()
    padded = (*(ABSENT,) * (count - len(defaults)), *defaults)
    positional = [_Parameter(names[index], padded[index]) for index in range(count)]
    keyword_defaults = function.__kwdefaults__ or {}
    end = count + code.co_kwonlyargcount
    found = {
        "positional-only": positional[:positional_only],
        "positional": positional[positional_only:],
        "keyword-only": [_Parameter(name, keyword_defaults.get(name, ABSENT)) for name in names[count:end]],
    }
    if code.co_flags & 0x04:
        found["variadic positional"] = [_Parameter(names[end], ABSENT)]
        end += 1
    if code.co_flags & 0x08:
        found["variadic keyword"] = [_Parameter(names[end], ABSENT)]
    return found


def _same_default(ours: Any, theirs: Any) -> bool:
    if ours is theirs:
        return True
    if type(ours) is not type(theirs):
        return False
    try:
        return bool(ours == theirs)
    except Exception:  # an array, say: compared by what it prints
        return repr(ours) == repr(theirs)


def _shown(default: Any) -> str:
    return "absent" if default is ABSENT else repr(default)
