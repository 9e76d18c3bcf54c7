"""Point the names that modules took from others to what stands at a target now."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from typing import Any

from ascend_patches.replacing.site import Site


def rebind(sites: Iterable[Site], except_modules: Collection[str] = ()) -> None:
    """Point the modules that took a module's function with ``from x import y`` to its replacement."""
    replaced = {id(site.before): site for site in sites if not isinstance(site.owner, type)}
    if not replaced:
        return
    for name, module in list(sys.modules.items()):
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
                names[key] = site.after
