"""Whether a replaced function or value reaches all that took the old one while modules were imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

from ascend_patches.carrying import import_time
from ascend_patches.carrying.import_time import Use
from ascend_patches.carrying.release_code import Code, Module
from ascend_patches.carrying.usage import dotted, named_value

_PATCHES = "/patch/"


class Captured(NamedTuple):
    """The targets that hold a function besides its own, why one is out of reach, and which may be."""

    also_at: tuple[str, ...]
    refusal: str
    doubts: tuple[str, ...]


def captured(code: Code, module: Module, path: str) -> Captured:
    """What took a function of a module while it, or any other module, was imported."""
    also: list[str] = []
    doubts: list[str] = []
    for use in import_time.uses(code, module.name, path):
        if use.is_name and "." not in path:
            continue
        place = assigned_to(code, use.module, use.statement, use.node)
        if place is not None and "." not in place.partition(":")[2] and not use.stands_in_module:
            continue  # what a module holds is found by its identity
        if use.module is module and place is not None and not use.stands_in_module and _PATCHES in module.path:
            continue  # looked at where the release's patches are
        if use.module is module:
            if place is None:
                return Captured((), f"`{use.shown}` took it when the module ran", ())
            also.append(place)
        elif place is None or _PATCHES not in use.module.path:
            # What a patch module of the release puts somewhere is looked at where its patches are.
            doubts.append(_too_early(use, "takes it"))
    for use in import_time.calls(code, module.name, path):
        if use.module is module:
            return Captured((), f"`{use.shown}` called it when the module ran", ())
        doubts.append(_too_early(use, "runs it"))
    return Captured(tuple(dict.fromkeys(also)), "", tuple(dict.fromkeys(doubts)))


def read(code: Code, module: Module, path: str) -> str:
    """Why a changed value would not reach all that read the old one while modules were imported; empty if it does."""
    for use in _readings(code, module, path):
        return f"{use.module.name} took its value when it was imported: {use.shown}"
    return ""


def assigned_to(code: Code, module: Module, node: ast.stmt, value: ast.expr | None = None) -> str | None:
    """The target that ``a.b.c = function`` sets; None where the statement is another one."""
    if not isinstance(node, ast.Assign) or len(node.targets) != 1 or not isinstance(node.targets[0], ast.Attribute):
        return None
    if not named_value(node.value) or (value is not None and node.value is not value):
        return None
    return place_of(code, module, dotted(node.targets[0]))


def place_of(code: Code, module: Module, name: str) -> str | None:
    """``a.b.c`` in a module as a target."""
    first, _, rest = name.partition(".")
    origin = code.origin(module.name, first)
    if origin is None or not rest:
        return None
    if origin[1]:
        return f"{origin[0]}:{origin[1]}.{rest}"
    parts = [*origin[0].split("."), *rest.split(".")]
    for count in range(len(parts) - 1, 0, -1):
        if code.path_of(".".join(parts[:count])) is not None:
            return f"{'.'.join(parts[:count])}:{'.'.join(parts[count:])}"
    return None


def _too_early(use: Use, what: str) -> str:
    return f"{use.module.name} {what} when it is imported, which may be before the patch is in place: `{use.shown}`"


def _readings(code: Code, module: Module, path: str) -> Iterator[Use]:
    yield from import_time.uses(code, module.name, path)
    # Methods of the class and functions of the module read it as well; some of these are called at once.
    name = path.rpartition(".")[2]
    for user in import_time.users(module, name if "." not in path else path.partition(".")[0]):
        yield from import_time.calls(code, module.name, user)
