"""Which patches are known: those of this package, and those of other installed distributions."""

from __future__ import annotations

import importlib
from typing import Any

from ascend_patches.basics.interrupts import is_interrupt
from ascend_patches.basics.modules import is_being_executed
from ascend_patches.declaring.patch import Patch
from ascend_patches.declaring.registry import Registry
from ascend_patches.errors import DeclarationError
from ascend_patches.patches import PATCHES
from ascend_patches.upstream import distributions

ENTRY_POINT_GROUP = "ascend_patches.patches"


def known() -> Registry:
    """This package's patches and those that other installed packages add through the entry point group."""
    registry = Registry()
    for patch in PATCHES:
        registry.add(patch, "ascend_patches")
    for distribution, name, value in distributions.entry_points(ENTRY_POINT_GROUP):
        origin = f"{distribution} (entry point {name} = {value})"
        try:
            found = _load(value)
        except BaseException as error:
            if is_interrupt(error):
                raise
            registry.problems.append(f"the patches of {origin} cannot be loaded: {type(error).__name__}: {error}")
            continue
        for patch in found:
            registry.add(patch, origin)
    return registry


def _load(value: str) -> tuple[Patch, ...]:
    module, _, attribute = value.partition(":")
    found: Any = importlib.import_module(module.strip())
    for part in filter(None, attribute.strip().split(".")):
        if is_being_executed(found) and not hasattr(found, part):
            raise DeclarationError(
                f"{module} imports vLLM at its top and was imported first, so it has no {part} yet: "
                'let it import vLLM in its functions, or name its replacements, replace="module:function"'
            )
        found = getattr(found, part)
    patches = (found,) if isinstance(found, Patch) else tuple(found) if isinstance(found, (list, tuple)) else None
    if patches is None or not all(isinstance(patch, Patch) for patch in patches):
        raise DeclarationError("it names neither a Patch nor a list of them")
    return patches
