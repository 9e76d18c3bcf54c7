"""A digest of what is applied in a process: patches, variants, options and the code put in place."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from hashlib import sha256
from typing import Any

from ascend_patches._version import __version__
from ascend_patches.declaring.carried import Carried
from ascend_patches.declaring.target import Target
from ascend_patches.process.live_patch import LivePatch
from ascend_patches.replacing.site import Site
from ascend_patches.upstream import fingerprints


def of(patches: Iterable[LivePatch], without: Collection[str] = ()) -> str:
    """The digest of what is in place now, of all patches but some; "none" where there is nothing."""
    parts = []
    for live in sorted(patches, key=lambda live: live.name):
        if live.sites and live.name not in without:
            variant = live.variant.name if live.variant is not None else ""
            carried = _of_carried(live)
            code = [f"{target}={_of_site(site, carried)}" for target, site in sorted(live.sites.items())]
            parts.append(repr((live.name, variant, sorted(live.choice.options.items()), code)))
    if not parts:
        return "none"
    # What a replacement calls is not fingerprinted, but changes with the release of this package.
    return sha256("\n".join([__version__, *parts]).encode()).hexdigest()[:16]


def to_come(patches: Collection[LivePatch], without: str) -> str:
    """A text that tells what is in place now, and what would still be put in place by further imports."""
    waiting = [
        (live.name, live.proposed.name if live.proposed is not None else "", sorted(live.choice.options.items()))
        for live in sorted(patches, key=lambda live: live.name)
        if live.state == "waiting" and live.name != without
    ]
    return f"ascend_patches {of(patches, without=(without,))} {waiting}"


def _of_site(site: Site, carried: Mapping[Target, str]) -> str:
    if site.overwritten_by():
        return "overwritten"
    return carried.get(site.target) or _of_code(site.replacement)


def _of_carried(live: LivePatch) -> dict[Target, str]:
    """The code of carried rewrites, which is known before it is made."""
    rewrites = live.variant.rewrites if live.variant is not None else ()
    return {rewrite.target: rewrite.code for rewrite in rewrites if isinstance(rewrite, Carried)}


def _of_code(value: Any) -> str:
    if isinstance(value, property):
        value = value.fget
    # Of advice, it is the advice that is ours.
    function = fingerprints.plain_function(getattr(value, "_self_wrapper", value))
    return (fingerprints.of_function(function) if function is not None else None) or repr(type(value))
