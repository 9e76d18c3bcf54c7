"""Find the holders of an original that was replaced: bound methods, closures, containers."""

from __future__ import annotations

from collections.abc import Iterable
from types import CellType, FrameType, MethodType
from typing import Any, cast
from weakref import getweakrefcount

from ascend_patches.replacing.find import ABSENT, Found, function_of
from ascend_patches.replacing.site import Site


def out_of_reach(sites: Iterable[Site]) -> dict[str, list[str]]:
    """Who still holds an original after it was replaced, in words and by target: bound methods, closures, containers.

    It looks at every object of the process, which takes a third of a second in a server: ask for all sites at once.
    """
    import gc

    held = {id(function_of(site.before)): site for site in sites if site.before is not ABSENT and not site.alone}
    if not held:
        return {}
    originals = tuple(function_of(site.before) for site in held.values())
    counted: dict[tuple[str, str], int] = {}
    for referrer in gc.get_referrers(*originals):
        if referrer is originals or type(referrer) in (Site, Found, FrameType):
            continue
        for referent in gc.get_referents(referrer):
            site = held.get(id(referent))
            described = _describe_holder(referrer, referent, site) if site is not None else None
            if site is not None and described is not None:
                counted[site.target, described] = counted.get((site.target, described), 0) + 1
    for site in held.values():
        weak = getweakrefcount(function_of(site.before))
        if weak:
            counted[site.target, "a weak reference"] = weak
    found: dict[str, list[str]] = {}
    for (target, holder), count in counted.items():
        times = f" ({count} times)" if count > 1 else ""
        found.setdefault(target, []).append(f"{target} is still held by {holder}{times}")
    return found


def _describe_holder(referrer: object, original: Any, site: Site) -> str | None:
    """One holder in words; None for what holds the original because of us or as a part of it."""
    if referrer is site.before or referrer is function_of(site.after):
        return None
    # Not isinstance: a proxy of another library passes for what it wraps.
    kind = type(referrer)
    if kind is MethodType:
        return f"a bound method of an existing {type(cast(MethodType, referrer).__self__).__qualname__}"
    if kind is CellType:
        return "a closure"
    if kind is dict:
        names = cast(dict[Any, Any], referrer)
        keys = [key for key, value in list(names.items()) if value is original]
        if names is site.keeps_original_in:
            keys = [key for key in keys if key != site.keeps_original_as]
        if not keys:
            return None
        return "a decorated function" if keys[0] == "__wrapped__" else f"a dictionary or an object, under {keys[0]!r}"
    if kind in (list, tuple, set, frozenset):
        return f"a {kind.__name__}"
    return f"an existing {kind.__qualname__}"
