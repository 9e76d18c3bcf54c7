"""A patch goes in place, and is taken out, as a whole: no call runs the new one of two functions with the old other."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain
from types import CodeType
from typing import Any

from ascend_patches.declaring.carried import Carried
from ascend_patches.declaring.patch import Rewrite
from ascend_patches.declaring.target import Target
from ascend_patches.errors import TargetError
from ascend_patches.replacing import carried_code, one_step, replace
from ascend_patches.replacing.find import Found, find
from ascend_patches.replacing.inside import codes_of
from ascend_patches.replacing.rebind import references
from ascend_patches.replacing.site import Site

InFront = Callable[[Rewrite, Found, Any], Any]
"""What is installed instead of a replacement; None for the replacement itself."""


class BusyError(Exception):
    """Calls are inside what was to be changed; nothing was changed."""

    def __init__(self, calls: list[str]) -> None:
        super().__init__("; ".join(calls))


def put_in_place(
    rewrites: Sequence[Rewrite],
    in_front: InFront,
    fresh: str = "",
    already_there: Collection[str] = (),
    others: Iterable[Site] = (),
) -> Sequence[Site]:
    """Replace the targets of all rewrites, or of none.

    ``fresh`` is a module that was executed just now. Only what that module imported itself, and is not already there,
    can have taken names from it. ``others`` are the sites of other patches.
    """
    sites: list[Site] = []
    made: dict[Target, Any] = {}
    try:
        for rewrite in rewrites:
            # Carried code may use what goes in place together with it.
            there, value = _prepared(rewrite, made)
            made[rewrite.target] = value
            sites.append(replace.site_of(rewrite, there, value, in_front(rewrite, there, value)))
        _refuse_shared_originals([*others, *sites])
    except BaseException:
        for site in sites:
            site.forget_module()
        raise
    return install(sites, fresh, already_there)


def _prepared(rewrite: Rewrite, made: Mapping[Target, Any]) -> tuple[Found, Any]:
    """Where a rewrite goes, and what goes there."""
    if isinstance(rewrite, Carried):
        there = carried_code.find_carried(rewrite)
        return there, carried_code.make(rewrite, there, made)
    there = find(rewrite.target, sys.modules[rewrite.module])
    return there, replace.prepare(rewrite, there)


def install(sites: Sequence[Site], fresh: str = "", already_there: Collection[str] = ()) -> Sequence[Site]:
    """Put sites in place and read them back, all of them or none."""
    new = [site for site in sites if site.target.module == fresh]
    old = [site for site in sites if site.target.module != fresh]
    pairs = [(site, step) for site in sites for step in site.steps()]
    names = [*references(new, already_there), *references(old)]
    steps = [*(step for _, step in pairs), *names]
    # Of one function alone, a call in flight has seen no other half.
    codes = _codes((site.target, site.original) for site in sites) if len(sites) > 1 else {}
    try:
        _change(steps, codes, frozenset())
        for site in sites:
            if not site.in_place():
                raise TargetError(f"{site.target}: was set, but reads back as something else")
    except one_step.StepError as error:
        _restore(sites)
        site = pairs[min(error.index, len(pairs) - 1)][0]
        raise TargetError(f"{site.target}: cannot be replaced: {error.__cause__}") from None
    except BusyError:
        for site in sites:
            site.forget_module()
        raise
    except BaseException:
        _restore(sites)
        raise
    _rebind(new, already_there)
    _rebind(old)
    return sites


def take_out(sites: Sequence[Site], also: Iterable[one_step.Step] = (), force: bool = False) -> None:
    """Put back what was there; BusyError if calls are inside, and nothing was changed. ``also`` belongs to the step."""
    reversed_sites = [site.reversed() for site in sites]
    steps = [*(step for site in reversed(sites) for step in site.undoing()), *references(reversed_sites), *also]
    codes = _codes((site.target, site.replacement) for site in sites) if len(sites) > 1 and not force else {}
    in_front = _codes((site.target, site.after) for site in sites if site.after is not site.replacement)
    _change(steps, codes, frozenset(in_front) if codes else frozenset())
    _rebind(reversed_sites)


def _refuse_shared_originals(sites: Iterable[Site]) -> None:
    """Two targets whose originals go by one name would both call the latter."""
    kept: dict[tuple[int, str], Site] = {}
    for site in sites:
        if site.keeps_original_in is not None:
            first = kept.setdefault((id(site.keeps_original_in), site.keeps_original_as), site)
            if first.target != site.target:
                raise TargetError(
                    f"{site.target}: its original would be kept as {site.keeps_original_as!r} of a module where that "
                    f"of {first.target} is kept already; give each a name of its own, original_as="
                )


def _change(steps: Sequence[one_step.Step], codes: dict[CodeType, str], wrappers: frozenset[CodeType]) -> None:
    if not codes:
        one_step.at_once(steps)
        return
    calls = one_step.while_nobody_is_inside(steps, codes, wrappers)
    if calls:
        raise BusyError(calls)


def _restore(sites: Sequence[Site]) -> None:
    ours = [site for site in sites if site.in_place()]
    one_step.at_once([step for site in reversed(ours) for step in site.undoing()])
    one_step.at_once(references(site.reversed() for site in ours))
    for site in sites:
        site.forget_original()
        site.forget_module()


def _rebind(sites: Sequence[Site], except_modules: Collection[str] = ()) -> None:
    """Point names that another thread took while we looked for them."""
    if len(sys._current_frames()) > 1:
        one_step.at_once(references(sites, except_modules))


def _codes(named: Iterable[tuple[str, Any]]) -> dict[CodeType, str]:
    return dict(chain.from_iterable(((code, target) for code in codes_of(value)) for target, value in named))
