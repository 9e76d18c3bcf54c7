"""Classes that a decorator has put something else in place of, so that nothing in them is reached by their name."""

from __future__ import annotations

import ast

from ascend_patches.carrying.inventory import FunctionNode
from ascend_patches.carrying.release_code import Code
from ascend_patches.carrying.usage import dotted
from ascend_patches.upstream import fingerprints


def hidden_by(code: Code, module: str, scope: str) -> str:
    """The decorator that gives back something else than the class which it is given; empty where there is none."""
    place = code.class_at(module, scope)
    decorators = place.node.decorator_list if place is not None else []
    # A call makes a decorator, such as one that registers a class: what that gives back its text does not show.
    names = [dotted(each) for each in decorators if not isinstance(each, ast.Call)]
    return next((name for name in names if place is not None and _gives_another(code, place.module, name)), "")


def _gives_another(code: Code, module: str, name: str) -> bool:
    origin = code.origin(module, name) if name and "." not in name else None
    home = code.module(origin[0]) if origin is not None and origin[1] else None
    item = home.inventory.one(origin[1]) if home is not None and origin is not None else None
    if item is None or not isinstance(item.node, FunctionNode) or not item.node.args.args:
        return False
    given = item.node.args.args[0].arg
    returned = [each.value for each in fingerprints.statements(item.node.body) if isinstance(each, ast.Return)]
    return not returned or not all(isinstance(each, ast.Name) and each.id == given for each in returned)
