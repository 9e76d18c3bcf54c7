"""Point the names that modules took from others to what stands at a target now."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from typing import Any

from ascend_patches.replacing import one_step
from ascend_patches.replacing.site import Site


def references(sites: Iterable[Site], except_modules: Collection[str] = ()) -> list[one_step.Step]:
    """What points the modules that took a module's function with ``from x import y`` to its replacement."""
    replaced = {id(site.before): site for site in sites if not site.alone and not isinstance(site.owner, type)}
    found: list[one_step.Step] = []
    for name, module in list(sys.modules.items()) if replaced else ():
        if name in except_modules:
            continue
        try:
            # Not getattr: a lazy module would import all it has.
            names: dict[str, Any] = object.__getattribute__(module, "__dict__")
        except AttributeError:
            continue
        for key, value in list(names.items()):
            site = replaced.get(id(value))
            if site is not None and not (names is site.keeps_original_in and key == site.keeps_original_as):
                found.append(one_step.item(names, key, site.after))
    return found


def rebind(sites: Iterable[Site], except_modules: Collection[str] = ()) -> None:
    """Do so at once."""
    one_step.at_once(references(sites, except_modules))
